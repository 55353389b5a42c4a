package cloudsqltest

import (
	"context"
	"log/slog"
	"net/http"
)

// logRequest tells of a request that has been dealt with. A panic goes on.
func (s *Server) logRequest(r *http.Request, req *Request, rule *ActiveRule) {
	if s.Logger == nil {
		return
	}
	args := []any{"method", req.Method, "path", req.Path, "status", req.Status, "client", r.RemoteAddr, "agent", req.Header.Get("User-Agent")}
	if req.Fault != nil {
		args = append(args, "fault", faultName(rule))
	}
	s.Logger.Info("API request", args...)
}

// faultName is what the log calls a fault, which is OnRequest's or OnConnect's
// if it is of no rule.
func faultName(rule *ActiveRule) string {
	if rule == nil {
		return "on demand"
	}
	return rule.String()
}

// logInfo tells of what has happened at an instance.
func (p *Proxy) logInfo(message string, args ...any) { p.log(slog.LevelInfo, message, args) }

func (p *Proxy) log(level slog.Level, message string, args []any) {
	if p.server.Logger != nil {
		p.server.Logger.Log(context.Background(), level, message, append([]any{"instance", p.String()}, args...)...)
	}
}
