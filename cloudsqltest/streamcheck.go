package cloudsqltest

import (
	"net/url"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/reply"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// authorize returns the stream's token, or refuses it.
func (s *stream) authorize() (token string, err error) {
	values := s.record.Header["authorization"]
	if len(values) == 1 {
		scheme, token, _ := strings.Cut(values[0], " ")
		if strings.EqualFold(scheme, "Bearer") && s.conn.service.server.takes(token) {
			return token, nil
		}
	}
	return "", status.Error(codes.Unauthenticated, reply.CredentialsRefusal)
}

// find finds the instance of a session, or refuses it. A region that is not the
// instance's leads to where it is not known.
func (s *stream) find(start *wire.Session) error {
	if err := s.checkRouting(start); err != nil {
		return err
	}
	region, ok := strings.CutPrefix(start.Location, "locations/")
	path := strings.Split(start.Instance, "/")
	if !ok || len(path) != 4 || path[0] != "projects" || path[2] != "instances" {
		return status.Error(codes.InvalidArgument, "Invalid location_id or instance_id.")
	}
	s.key = path[1] + ":" + path[3]
	server := s.conn.service.server
	server.mu.Lock()
	p, known := server.instances[s.key], server.projects[path[1]]
	server.mu.Unlock()
	switch {
	case !known:
		return status.Error(codes.PermissionDenied, "The client is not authorized to make this request.")
	case p == nil || p.name.Region() != region:
		return status.Error(codes.NotFound, "The Cloud SQL instance does not exist.")
	}
	s.instance = p
	if !p.cfg.SQLData {
		return StreamStatus(codes.FailedPrecondition, EditionRefusal+": ENTERPRISE", "UNSUPPORTED_INSTANCE_TYPE", 0).Err()
	}
	return nil
}

// checkRouting refuses a session whose routing header is another one's, or is
// missing. Slashes may be escaped.
func (s *stream) checkRouting(start *wire.Session) error {
	values := s.record.Header["x-goog-request-params"]
	if len(values) != 1 {
		return status.Errorf(codes.InvalidArgument, "Want the header x-goog-request-params once, got it %d times.", len(values))
	}
	params, err := url.ParseQuery(values[0])
	if err != nil || len(params["location_id"]) != 1 || len(params["instance_id"]) != 1 {
		return status.Error(codes.InvalidArgument, "Want location_id and instance_id in x-goog-request-params.")
	}
	if params.Get("location_id") != start.Location || params.Get("instance_id") != start.Instance {
		return status.Error(codes.InvalidArgument, "The header x-goog-request-params is not that of start_session.")
	}
	return nil
}
