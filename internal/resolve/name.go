package resolve

import (
	"fmt"
	"regexp"
	"strings"
)

// domainForm is a domain name in lower case, without its trailing dot: at least
// two labels, of which the last begins with a letter.
var domainForm = regexp.MustCompile(`^(?:[_a-z0-9](?:[_a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$`)

// maxDomain is how long a domain name can be, without its trailing dot.
const maxDomain = 253

// NameError says that a text is not a domain name.
type NameError struct {
	Text string
}

// Error shows the expected form, and the text unless it may be a URL or a data
// source name, with a password in it.
func (e *NameError) Error() string {
	text := shorten(e.Text)
	if i := strings.IndexAny(e.Text, "@=/"); i >= 0 {
		text = fmt.Sprintf("a text of %d bytes with %q in it", len(e.Text), e.Text[i])
	}
	return text + ` is not a domain name; want labels of letters, digits and hyphens between dots, such as "db.example.com", in their ASCII form`
}

// normalize returns a domain name in lower case, without a trailing dot.
func normalize(text string) (string, error) {
	name := strings.Map(lower, strings.TrimSuffix(text, "."))
	if len(name) > maxDomain || !domainForm.MatchString(name) {
		return "", &NameError{text}
	}
	return name, nil
}

// lower knows ASCII only: a Kelvin sign is no k.
func lower(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		r += 'a' - 'A'
	}
	return r
}

// instanceRegion returns the region in the DNS name of an instance,
// {label}.{label}.{region}.sql.goog, also with sql-psa or sql-psc. For other
// domain names it returns "". Write endpoints, which have the region global, are
// such others: the Admin API does not resolve them.
func instanceRegion(name string) string {
	labels := strings.Split(name, ".")
	if len(labels) != 5 || labels[4] != "goog" || labels[2] == "global" {
		return ""
	}
	switch labels[3] {
	case "sql", "sql-psa", "sql-psc":
		return labels[2]
	}
	return ""
}

// shorten shows what came from outside, quoted, and not all of it if it is
// long.
func shorten(text string) string {
	const most = 80
	if len(text) > most {
		return fmt.Sprintf("%+q...", text[:most])
	}
	return fmt.Sprintf("%+q", text)
}
