package sqldriver

import (
	"fmt"
	"strconv"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// The parameters of a data source name that are for the Dialer.
const (
	ipTypes  = "cloudsql_ip_types"  // a list such as PRIVATE,PUBLIC
	iamAuthN = "cloudsql_iam_authn" // true or false
	sqlData  = "cloudsql_sql_data"  // never, prefer or only
)

// Options takes cloudsql_ip_types, cloudsql_iam_authn and cloudsql_sql_data out of
// the parameters of a data source name, so that they do not reach the server, and
// returns opts with what they mean at the end: the data source name wins. Options that
// no Dial of d would take are an error.
func Options(d *cloudsqlconn.Dialer, params map[string]string, opts []cloudsqlconn.DialOption) ([]cloudsqlconn.DialOption, error) {
	opts = opts[:len(opts):len(opts)]
	if list, ok := take(params, ipTypes); ok {
		types, err := cloudsqlconn.ParseIPTypes(list)
		if err != nil {
			return nil, paramError(fmt.Errorf("%s: %w", ipTypes, err),
				"Write cloudsql_ip_types=PRIVATE for the address inside a VPC network, PUBLIC for the one on the internet, PSC for a Private Service Connect endpoint, or several in order of preference, such as PRIVATE,PUBLIC. Without it, WithIPTypes counts.")
		}
		opts = append(opts, cloudsqlconn.WithIPTypes(types...))
	}
	if s, ok := take(params, iamAuthN); ok {
		on, err := strconv.ParseBool(s)
		if err != nil {
			return nil, paramError(fmt.Errorf("%w: %s is %.40q; want true or false", cloudsqlconn.ErrConfig, iamAuthN, s),
				"Write cloudsql_iam_authn=true to log in by IAM, or cloudsql_iam_authn=false to log in with a password. Without it, WithIAMAuthN counts.")
		}
		opts = append(opts, cloudsqlconn.WithIAMAuthN(on))
	}
	if s, ok := take(params, sqlData); ok {
		mode, err := cloudsqlconn.ParseSQLDataMode(s)
		if err != nil {
			return nil, paramError(fmt.Errorf("%s: %w", sqlData, err),
				"Write cloudsql_sql_data=prefer for SQL Data where it serves the instance, only to use nothing else, or never. Without it, WithSQLData counts.")
		}
		opts = append(opts, cloudsqlconn.WithSQLData(mode))
	}
	return opts, d.CheckDialOptions(opts...)
}

func paramError(err error, hint string) error {
	return &cloudsqlconn.Error{Op: cloudsqlconn.OpConfig, Hint: hint, Err: err}
}

func take(params map[string]string, name string) (string, bool) {
	v, ok := params[name]
	delete(params, name)
	return v, ok
}
