package failure

import (
	"fmt"
	"strings"
)

// Quote shows what was passed as a name or the like: none of it if it is long, or
// can be a URL, a data source name or JSON, with a secret in it.
func Quote(s string) string {
	const most, telling = 120, "@=/{\r\n"
	switch {
	case strings.ContainsAny(s, telling):
		return fmt.Sprintf("a text of %d bytes with %q in it", len(s), s[strings.IndexAny(s, telling)])
	case len(s) > most:
		return fmt.Sprintf("a text of %d bytes", len(s))
	}
	return fmt.Sprintf("%q", s)
}
