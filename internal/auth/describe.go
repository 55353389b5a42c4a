package auth

import "context"

// Description is what can be told about credentials without a secret.
type Description struct {
	Kind  string // the "type" of a credentials file, or what the tokens come from
	Email string // of the account that the tokens are for; "": unknown
}

// The kinds that no credentials file names.
const (
	kindSource   = "the program's own token source"
	kindMetadata = "metadata server"
)

// Describe looks the credentials up, if that has not been done, and says what
// they are. Its errors are those of a token; an address that the metadata
// server does not tell within 5 s is none.
func (c *Credentials) Describe(ctx context.Context) (Description, error) {
	gen, err := c.current(ctx)
	if err != nil {
		return Description{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, emailPatience)
	defer cancel()
	email, _ := gen.email(ctx) // a server that cannot say it may still give tokens
	return Description{Kind: gen.kind, Email: email}, nil
}
