package hint

import (
	"errors"
	"net/http"

	"cloud.google.com/go/compute/metadata"
	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
)

// tokenHint is for an access token that could not be had.
func (s Subject) tokenHint(err error) string {
	var (
		refused   *auth.RefusedError
		none      *auth.NotFoundError
		misfit    *auth.ConfigError
		bad       *auth.OwnError
		noAccount metadata.NotDefinedError
		host      *auth.MetadataHostError
	)
	switch {
	case errors.As(err, &misfit):
		return "" // it says so itself
	case errors.As(err, &bad):
		return "Fix the token source that was passed to WithTokenSource or WithIAMAuthNTokenSources: it must return tokens that are still valid, and get a new one in time."
	case errors.As(err, &refused) && refused.Stranger && refused.Code < http.StatusInternalServerError:
		return strangerHint(refused)
	case errors.As(err, &refused) && admin.Terminal(err):
		return refusedHint(refused)
	case errors.As(err, &refused):
		return "The server that issues access tokens is overloaded or unavailable: try again later."
	case errors.As(err, &noAccount) && s.Emulated:
		return "GCE_METADATA_HOST leads to no metadata server with an account: set it to the emulator's control endpoint, such as 127.0.0.1:13308; the port in CLOUDSQLCONN_EMULATOR_HOST is that of the Admin API."
	case errors.As(err, &noAccount):
		return "This machine has no service account: attach one (`gcloud compute instances set-service-account VM --service-account=EMAIL --scopes=cloud-platform`), or pass other credentials with WithCredentialsFile."
	case expired(err):
		return "According to this machine's clock, the certificate of the server that issues access tokens is not valid: set the clock."
	case errors.As(err, &host) && s.Emulated:
		return "Nothing answers where GCE_METADATA_HOST says that the emulator's control endpoint is: start the emulator, or correct the variable."
	case errors.As(err, &host):
		return "Nothing answers where GCE_METADATA_HOST says that the metadata server is: start it there, if it is the control endpoint of the emulator; otherwise correct the variable, or unset it to use the credentials of this machine."
	case !admin.Terminal(err):
		return "No access token was issued: check that this machine can reach the server that issues them, and try again."
	case errors.Is(err, auth.ErrJSON):
		return "Pass the JSON to WithCredentialsJSON, or write it to a file and name that."
	case errors.Is(err, auth.ErrExecutables):
		return "If you trust the credentials file and the program that it names, set the environment variable GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1."
	case errors.Is(err, auth.ErrSubjectFile):
		return "Check the path of credential_source in the credentials file, and that this program may read what is there; what writes the file may not have done so yet."
	case errors.As(err, &none) && none.Machine:
		return "CLOUDSQLCONN_EMULATOR_HOST is set, so that credentials come from the emulator: set GCE_METADATA_HOST to its control endpoint, such as 127.0.0.1:13308, or unset the former to connect to Cloud SQL."
	case errors.As(err, &none) && none.From != "":
		return "Put a valid credentials file there, for example with `gcloud auth application-default login`, or use other credentials: GOOGLE_APPLICATION_CREDENTIALS, WithCredentialsFile, WithTokenSource."
	}
	return "Set up credentials: run `gcloud auth application-default login`, set GOOGLE_APPLICATION_CREDENTIALS to a credentials file, or pass WithCredentialsFile or WithTokenSource."
}

func refusedHint(refused *auth.RefusedError) string {
	clock, target := Clock(refused.ClockOffset, TheTokenServer), refused.Target
	if !IsEmail(target) {
		target = "EMAIL"
	}
	switch refused.Step {
	case auth.Impersonation:
		if refused.Code == http.StatusForbidden || refused.Code == http.StatusUnauthorized {
			return "Grant roles/iam.serviceAccountTokenCreator on " + target + " to the caller (with delegates, to the last of them, and on each of them to the one before it), and enable iamcredentials.googleapis.com."
		}
		return "Check the service account's name: `gcloud iam service-accounts describe " + target + "`."
	case auth.UserLogin:
		if code := oauthCode(refused); code == "invalid_scope" {
			return "The login lacks the scope sqlservice.login, which IAM login needs: run `gcloud auth application-default login` without --scopes, or with --scopes=openid,https://www.googleapis.com/auth/userinfo.email,https://www.googleapis.com/auth/cloud-platform,https://www.googleapis.com/auth/sqlservice.login."
		}
		return "The login has expired or was revoked: run `gcloud auth application-default login`."
	case auth.AccountKey:
		return Join(clock, "Check that the service account and its key still exist (`gcloud iam service-accounts keys list --iam-account=EMAIL`), and this machine's clock.")
	case auth.Federation:
		return Join(clock, "Check the audience in the credentials file, the provider and its attribute conditions in the identity pool, and that the subject token has not expired.")
	case auth.Metadata:
		return metadataHint(refused)
	}
	return "Check the credential_source in the credentials file: the server that it names gave no subject token."
}

// oauthCode is the code of an OAuth 2.0 refusal, such as invalid_grant, or "".
func oauthCode(err error) string {
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return e.ErrorCode
	}
	return ""
}

// strangerHint is for an answer that no server that issues tokens can have given.
func strangerHint(refused *auth.RefusedError) string {
	return "Something else has most likely answered in place of the server that issues access tokens: look for a proxy, a filter or a sign-in page between this machine and " + refused.Host + "."
}

// metadataHint is for tokens that the metadata server does not give. On GKE it
// passes on what IAM says.
func metadataHint(refused *auth.RefusedError) string {
	switch refused.Code {
	case http.StatusForbidden:
		return "On GKE, let the Kubernetes service account act as the IAM service account: `gcloud iam service-accounts add-iam-policy-binding EMAIL --role=roles/iam.workloadIdentityUser --member='serviceAccount:PROJECT.svc.id.goog[NAMESPACE/ACCOUNT]'`. Elsewhere, check whether the service account is enabled: `gcloud iam service-accounts describe EMAIL`."
	case http.StatusNotFound:
		return "The service account does not exist: on GKE compare the annotation iam.gke.io/gcp-service-account of the Kubernetes service account with `gcloud iam service-accounts list`; elsewhere attach one that exists."
	}
	return "The metadata server returns no token: see its message, and the logs of the machine or the cluster."
}
