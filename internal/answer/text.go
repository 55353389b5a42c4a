package answer

import (
	"strings"
	"unicode"
)

// OneLine is a text from outside in one line of so many bytes at most, without what
// cannot be printed.
func OneLine(text string, most int) string {
	return Cut(strings.Join(strings.FieldsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r) || r == unicode.ReplacementChar
	}), " "), most)
}

// Cut is the beginning of a text that has more than so many bytes, with an ellipsis.
func Cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
