package doctor

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/hint"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
)

// authorise takes the hops credentials and token, and reports whether there is
// something to call the Admin API with.
func (w *walk) authorise(ctx context.Context) bool {
	if !w.step(ctx, HopCredentials, "", func() (string, error) { return w.whose(ctx) }) {
		w.skip(HopToken, "no credentials")
		return false
	}
	var failed error
	ok := w.step(ctx, HopToken, "", func() (string, error) {
		tok, err := w.Admin.Token(ctx)
		switch {
		case err != nil:
			failed = err
			return "", err
		case tok == nil:
			return "the program's own HTTP client has it", nil
		}
		found := expires(tok.Expiry)
		if project := hint.ProjectID(cmp.Or(w.QuotaProject, auth.QuotaProject(tok))); project != "" {
			found += ", quota project " + project
		}
		return found, nil
	})
	if offset, told := admin.ClockOffset(failed); told {
		w.clock(ctx, offset, hint.TheTokenServer)
	}
	return ok
}

// whose says what the credentials are.
func (w *walk) whose(ctx context.Context) (string, error) {
	from := strings.Join(w.From, ", ")
	if auth.LooksLikePath(w.File) {
		from += " " + filepath.Base(w.File)
	}
	if w.Credentials == nil {
		return "the program's own: " + cmp.Or(from, "WithHTTPClient"), nil
	}
	who, err := w.Credentials.Describe(ctx)
	if err != nil {
		return "", &admin.TokenError{Err: err}
	}
	found := who.Kind
	if hint.IsEmail(who.Email) {
		found += " " + who.Email
	}
	return found + ", from " + cmp.Or(from, "Application Default Credentials"), nil
}

// metadata takes the hops metadata and clock. It returns nil if there is none.
func (w *walk) metadata(ctx context.Context, named, authorised bool) (m *admin.Metadata) {
	switch {
	case !named:
		w.skip(HopMetadata, "no instance to ask for")
		return nil
	case !authorised:
		w.skip(HopMetadata, "no token")
		return nil
	}
	var (
		offset time.Duration // of the clocks
		told   bool
	)
	w.step(ctx, HopMetadata, w.AdminHost, func() (string, error) {
		got, err := w.Admin.Metadata(ctx, w.target.Instance)
		if got != nil {
			offset, told = got.ClockOffset, got.ClockTold
		} else {
			offset, told = admin.ClockOffset(err)
		}
		if err != nil {
			return "", err
		}
		m = got
		return describe(m), nil
	})
	if told {
		w.clock(ctx, offset, hint.TheAPI)
	} else {
		w.skip(HopClock, "the Admin API has not told the time")
	}
	return m
}

// describe is what metadata tells, in short.
func describe(m *admin.Metadata) string {
	found := cmp.Or(m.DatabaseVersion, "unknown engine") + " in " + cmp.Or(m.Region, "unknown region")
	for _, a := range places(m.Info, admin.AddressTypes) {
		found += ", " + a.who + " " + a.host
	}
	return found
}

// certificate takes the hops login token and certificate. It returns nil if
// there is none.
func (w *walk) certificate(ctx context.Context, m *admin.Metadata) (info *admin.Info) {
	if w.IAM {
		if m == nil {
			w.skip(HopLoginToken, "no metadata")
		} else if !w.step(ctx, HopLoginToken, "", func() (string, error) {
			tok, err := w.Admin.LoginToken(ctx)
			if err != nil {
				return "", err
			}
			return expires(tok.Expiry), nil
		}) {
			w.skip(HopCertificate, "no login token")
			return nil
		}
	}
	if m == nil {
		w.skip(HopCertificate, "no metadata")
		return nil
	}
	w.step(ctx, HopCertificate, "", func() (string, error) {
		got, expiry, err := w.Admin.Certificate(ctx, m, w.IAM)
		if err != nil {
			return "", err
		}
		if time.Until(expiry) < time.Second { // a Dial would not use it
			return expires(expiry), refresh.ErrExpired
		}
		info = got
		if w.IAM {
			return "for IAM login, " + expires(expiry), nil
		}
		return expires(expiry), nil
	})
	return info
}

// expires tells when something ends.
func expires(at time.Time) string {
	if at.IsZero() {
		return "without expiry"
	}
	text, left := at.UTC().Format(time.RFC3339), time.Until(at)
	if left < 0 {
		return fmt.Sprintf("expired %s, %s ago", text, hint.Span(-left))
	}
	return fmt.Sprintf("expires %s, in %s", text, hint.Span(left))
}
