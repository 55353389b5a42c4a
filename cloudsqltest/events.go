package cloudsqltest

import (
	"context"
	"log"
	"log/slog"
)

// logInfo tells of what has happened at an instance.
func (p *EmulatedInstance) logInfo(message string, args ...any) { p.log(slog.LevelInfo, message, args) }

func (p *EmulatedInstance) log(level slog.Level, message string, args []any) {
	if p.server.Logger != nil {
		p.server.Logger.Log(context.Background(), level, message, append([]any{"instance", p.String()}, args...)...)
	}
}

// warn tells of what nobody may have wanted, even where nobody listens.
func (p *EmulatedInstance) warn(l *link, what string, err error) {
	if p.server.Logger == nil {
		log.Printf("cloudsqltest: %s: %s: %v", p.name, what, err)
	}
	p.logInfo(what, "client", l.raw.RemoteAddr(), "error", err)
}
