package cloudsqlconn

import (
	"errors"
	"net/http"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
)

// tokenHint is the sentence that says what to do when no token could be had.
func tokenHint(err error) string {
	var (
		refused *auth.RefusedError
		none    *auth.NotFoundError
		misfit  *auth.ConfigError
	)
	switch {
	case errors.As(err, &misfit):
		return "" // it says so itself
	case errors.As(err, &refused) && admin.Terminal(err):
		return refusedHint(refused)
	case errors.As(err, &refused):
		return "The server that issues access tokens is overloaded or out of order: try again later."
	case !admin.Terminal(err):
		return "The server that issues access tokens did not give one: check that this machine reaches it, and try again."
	case errors.As(err, &none) && none.From != "":
		return "Put a good credentials file there, for example with `gcloud auth application-default login`, or set up others: GOOGLE_APPLICATION_CREDENTIALS, WithCredentialsFile, WithTokenSource."
	}
	return "Set up credentials: run `gcloud auth application-default login`, set GOOGLE_APPLICATION_CREDENTIALS to a credentials file, or pass WithCredentialsFile or WithTokenSource."
}

func refusedHint(refused *auth.RefusedError) string {
	switch refused.Step {
	case auth.Impersonation:
		if refused.Code == http.StatusForbidden || refused.Code == http.StatusUnauthorized {
			return "Grant roles/iam.serviceAccountTokenCreator on " + refused.Target + " to the caller, or to the last delegate and so on back to the caller, and enable iamcredentials.googleapis.com."
		}
		return "Check the service account's name: `gcloud iam service-accounts describe " + refused.Target + "`."
	case auth.UserLogin:
		return "The login has expired, was revoked, or lacks the scope that is needed: run `gcloud auth application-default login`."
	case auth.AccountKey:
		return "Check that the service account and its key still exist (`gcloud iam service-accounts keys list`), and that this machine's clock is right."
	case auth.Federation:
		return "Check the audience in the credentials file, the provider and its attribute conditions in the identity pool, and that the subject token has not expired."
	}
	return "Check the credential_source in the credentials file: the server that it names gave no subject token."
}
