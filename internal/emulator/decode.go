package emulator

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// What the YAML package says of a value that does not fit: names of Go types,
// some of which have spaces.
var (
	unknownKey = regexp.MustCompile(`(?s)field (\S+) not found in type .*`)
	wrongType  = regexp.MustCompile("(?s)cannot unmarshal !!(\\w+)( `.*`)? into (.*)")
)

// plain says the same without Go's types.
func plain(message string) string {
	message = unknownKey.ReplaceAllString(message, "unknown key $1")
	m := wrongType.FindStringSubmatch(message)
	if m == nil {
		return message
	}
	want, ok := map[string]string{
		"bool": "true or false", "float64": "a number", "int": "a whole number", "string": "text", "time.Duration": "a duration, such as 2m",
	}[m[3]]
	switch {
	case ok:
	case strings.HasPrefix(m[3], "[]"):
		want = "a list"
	default:
		want = "an object, such as {key: value}"
	}
	got := m[2]
	if got == "" {
		got = map[string]string{"map": " an object", "seq": " a list"}[m[1]]
	}
	return strings.Replace(message, m[0], "want "+want+", got"+got, 1)
}

// decode reads YAML, of which JSON is a part, and knows all keys.
func decode(text []byte, v any) error {
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	err := d.Decode(v)
	var wrong *yaml.TypeError
	switch {
	case errors.As(err, &wrong):
		var messages []string
		for _, message := range wrong.Errors {
			messages = append(messages, plain(message))
		}
		return errors.New(strings.Join(messages, "; "))
	case err == io.EOF:
		return errors.New("nothing in it")
	case err != nil:
		return err
	case d.Decode(new(yaml.Node)) != io.EOF:
		return errors.New("more than one document")
	}
	return nil
}

// line finds what a path leads to, or the last of it that is there.
func line(n *yaml.Node, path []any) int {
	if n.Kind == yaml.DocumentNode {
		n = n.Content[0]
	}
	at := n.Line
	for _, step := range path {
		var next *yaml.Node
		switch step := step.(type) {
		case string:
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == step {
					next = n.Content[i+1]
					at = n.Content[i].Line
				}
			}
		case int:
			next = n.Content[step]
			at = next.Line
		}
		if next == nil {
			break
		}
		n = next
	}
	return at
}
