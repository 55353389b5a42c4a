package auth

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"
)

// maxFile bounds a credentials file, which has a few kilobytes.
const maxFile = 1 << 20

// maxElement is what file systems take for one element of a path.
const maxElement = 255

// ErrJSON says that JSON stands where the path of a file belongs.
var ErrJSON = errors.New("this is JSON, not a path; use WithCredentialsJSON")

// LooksLikeJSON reports whether s is the content of a credentials file rather
// than its path.
func LooksLikeJSON(s string) bool {
	return strings.HasPrefix(strings.TrimLeftFunc(strings.TrimPrefix(s, byteOrderMark), unicode.IsSpace), "{")
}

// LooksLikePath reports whether s is certainly a path, and no secret in the wrong
// place: it begins as one, or ends in .json. Others can be paths too.
func LooksLikePath(s string) bool {
	begins := filepath.IsAbs(s) || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../")
	if !begins && !strings.EqualFold(filepath.Ext(s), ".json") {
		return false
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || strings.ContainsRune(`{}"`, r) }) {
		return false
	}
	for element := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '/' || r == filepath.Separator }) {
		if len(element) > maxElement {
			return false
		}
	}
	return true
}

// withoutPath returns err without the path of a file, unless that may be shown.
func withoutPath(err error, show bool) error {
	if failed, ok := errors.AsType[*fs.PathError](err); ok && !show {
		return failed.Err
	}
	return err
}

// read returns the content of a file.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// readFile returns the credentials in the file that an option or a variable
// names.
func readFile(namedBy, path string) (*identity, error) {
	from, show := path, LooksLikePath(path)
	if !show {
		from = "of " + namedBy
	}
	if LooksLikeJSON(path) {
		return nil, &NotFoundError{From: from, Err: ErrJSON}
	}
	raw, err := read(path)
	if err != nil {
		return nil, &NotFoundError{From: from, Err: withoutPath(err, show)}
	}
	return parseFrom(from, raw)
}
