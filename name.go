package cloudsqlconn

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
)

// Name is an instance connection name, project:region:instance. It is
// comparable: equal names are one instance. Its zero value names nothing.
type Name struct{ project, region, instance string }

// nameForm is one instance connection name. It is strict on characters and
// lenient on lengths: some old project IDs are shorter than today's rules.
// Sources: the documentation of project IDs (letters, digits and hyphens, with
// a domain and a colon before them in domain-scoped projects) and of instance
// IDs (letters, digits and hyphens).
var nameForm = regexp.MustCompile(`^((?:[a-z0-9.-]+:)?[a-z][a-z0-9-]*):([a-z][a-z0-9-]*):([a-z][a-z0-9-]*)$`)

const wantName = `want project:region:instance, such as "my-project:europe-west1:my-db", in lower case and without spaces`

// ParseName parses an instance connection name, project:region:instance or
// domain.tld:project:region:instance. It is strict: nothing is trimmed and
// case matters. Every error is ErrBadName and shows the expected form.
func ParseName(s string) (Name, error) {
	m := nameForm.FindStringSubmatch(s)
	if m == nil {
		return Name{}, failure.Mark(ErrBadName, fmt.Errorf("%s; %s", misnamed(s), wantName))
	}
	return Name{project: m[1], region: m[2], instance: m[3]}, nil
}

// socketFolder is where Cloud Run and App Engine have the sockets of instances.
const socketFolder = "/cloudsql/"

// Names with slashes, as the Admin API and other services of Google's have them.
var (
	apiName = regexp.MustCompile(`^projects/(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]*/instances/[a-z][a-z0-9-]*$`)
	slashes = regexp.MustCompile(`^[a-z0-9.:-]+/[a-z0-9-]+/[a-z0-9-]+$`)
)

// misnamed says what is wrong with s. It shows s, or a part of it, only if that cannot be
// a secret.
func misnamed(s string) string {
	path, socket := strings.CutPrefix(s, socketFolder)
	folder, _, _ := strings.Cut(path, "/")
	switch {
	case socket && nameForm.MatchString(folder):
		return fmt.Sprintf("a path of a socket is not an instance connection name: leave out %s, and name %q", socketFolder, folder)
	case socket:
		return "a path of a socket is not an instance connection name: leave out " + socketFolder
	case apiName.MatchString(s):
		return fmt.Sprintf("%q has no region, and is not an instance connection name", s)
	case slashes.MatchString(s):
		return fmt.Sprintf("a text of %d bytes with '/' in it, where a name has ':', is not an instance connection name", len(s))
	}
	return failure.Quote(s) + " is not an instance connection name"
}

// Project returns the project ID, with its domain in domain-scoped projects.
func (n Name) Project() string { return n.project }

// Region returns the region.
func (n Name) Region() string { return n.region }

// Instance returns the instance ID, without project and region.
func (n Name) Instance() string { return n.instance }

// IsZero reports whether n names nothing.
func (n Name) IsZero() bool { return n == Name{} }

// String returns project:region:instance, or "" for the zero value.
func (n Name) String() string {
	if n.project == "" {
		return ""
	}
	return n.project + ":" + n.region + ":" + n.instance
}

// admin is the name as the Admin API has it.
func (n Name) admin() admin.Instance {
	return admin.Instance{Project: n.project, Region: n.region, ID: n.instance}
}
