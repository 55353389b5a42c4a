package sqldriver

import (
	"fmt"
	"strconv"
)

// The parameters of a data source name that are for the Dialer.
const (
	ipTypes  = "cloudsql_ip_types"  // a list such as PRIVATE,PUBLIC
	iamAuthN = "cloudsql_iam_authn" // true or false
)

// OptionFuncs make dial options of what a data source name says. T is the type
// of IP types, O that of options: this package does not know the Dialer's.
type OptionFuncs[T, O any] struct {
	ParseIPTypes func(list string) ([]T, error)
	IPTypes      func(...T) O
	IAMAuthN     func(bool) O
}

// Options takes cloudsql_ip_types and cloudsql_iam_authn out of params, so that
// they do not reach the server, and returns the options that they mean: none if
// neither is there. A nil map is as good as an empty one.
func (f OptionFuncs[T, O]) Options(params map[string]string) (opts []O, err error) {
	if list, ok := take(params, ipTypes); ok {
		types, err := f.ParseIPTypes(list)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ipTypes, err)
		}
		opts = append(opts, f.IPTypes(types...))
	}
	if s, ok := take(params, iamAuthN); ok {
		on, err := strconv.ParseBool(s)
		if err != nil {
			return nil, fmt.Errorf("%s is %.40q; want true or false", iamAuthN, s)
		}
		opts = append(opts, f.IAMAuthN(on))
	}
	return opts, nil
}

func take(params map[string]string, name string) (string, bool) {
	v, ok := params[name]
	delete(params, name)
	return v, ok
}
