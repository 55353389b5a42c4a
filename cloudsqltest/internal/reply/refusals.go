package reply

import (
	"fmt"
	"hash/fnv"
	"net/http"
)

// CredentialsRefusal is what Google's APIs say of a token that they do not accept.
const CredentialsRefusal = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential."

// Unauthenticated refuses a token.
func Unauthenticated() *Reply {
	return Error(http.StatusUnauthorized, CredentialsRefusal, "authError")
}

// BadRequest has no reason: Cloud SQL gives none.
func BadRequest(message string) *Reply {
	return Error(http.StatusBadRequest, message, "")
}

// Forbidden is Cloud SQL's refusal for want of a role, as it is today.
func Forbidden(permission, instance string) *Reply {
	return Error(http.StatusForbidden, "boss::NOT_AUTHORIZED: Not authorized to access resource. Possibly missing permission "+permission+" on resource instances/"+instance+".", "forbidden")
}

// NoCall is for paths that no call of the API has.
func NoCall() *Reply {
	return Error(http.StatusNotFound, "Not Found", "notFound")
}

// NoInstance is for an instance that does not exist.
func NoInstance() *Reply {
	return Error(http.StatusNotFound, "The Cloud SQL instance does not exist.", "instanceDoesNotExist")
}

// WrongState is for an instance that is not running. The name of its state may be
// empty: the API has none for most.
func WrongState(name string) *Reply {
	text := "The instance or operation is not in an appropriate state to handle the request."
	if name != "" {
		text += " Instance state: " + name + "."
	}
	return Error(http.StatusConflict, text, "invalidState")
}

// Quota refuses one request too many. The number of the project is made up.
func Quota(project string) *Reply {
	h := fnv.New32a()
	_, _ = h.Write([]byte(project))
	return Error(http.StatusTooManyRequests, fmt.Sprintf("Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user' of service 'sqladmin.googleapis.com' for consumer 'project_number:%d'.", h.Sum32()), "rateLimitExceeded")
}
