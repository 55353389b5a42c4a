package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// proxyDetails say what the arguments of proxy can be.
const proxyDetails = `Parameters of an instance, which take precedence over the flags:

  iam, ip-types, listen, sql-data, socket-group, socket-mode   as the flags of these names
  port                                                         a port of 127.0.0.1

  cloudsqlconn proxy 'my-project:europe-west1:a?port=5433&iam' 'my-project:europe-west1:b?listen=/run/b'

`

// target is an instance that proxy serves, as an argument names it.
type target struct {
	name    string
	place   place
	opts    []cloudsqlconn.DialOption
	iam     bool
	ipTypes bool                     // has types of its own
	sqlData cloudsqlconn.SQLDataMode // "": that of the flag
}

// parseTargets parses the arguments of proxy: names of instances, each with
// parameters that override the flags, such as
// my-project:europe-west1:my-db?port=5433&iam.
func parseTargets(args []string, common place) ([]target, error) {
	switch {
	case len(args) == 0:
		return nil, errors.New("want an instance, got none")
	case len(args) > 1 && common.address != "":
		return nil, fmt.Errorf("-listen is for one instance, got %d: want an address for each, such as %s?listen=127.0.0.1:5433", len(args), args[1])
	}
	var list []target
	var errs []error
	for _, arg := range args {
		t, err := parseTarget(arg, common)
		if err == nil {
			err = t.place.fault()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", arg, err))
		}
		list = append(list, t)
	}
	return list, errors.Join(append(errs, conflicts(list, common))...)
}

// badNames returns which names are not those of instances.
func badNames(list []target) error {
	var errs []error
	for _, t := range list {
		if _, err := cloudsqlconn.ParseName(t.name); err != nil {
			errs = append(errs, fmt.Errorf("%w; a DNS name needs -dns", err))
		}
	}
	return errors.Join(errs...)
}

// conflicts returns which addresses cannot be listened on together, or not as
// the flags say.
func conflicts(list []target, common place) error {
	var errs []error
	names := map[string]string{}
	sockets := 0
	for _, t := range list {
		if other, taken := names[t.place.address]; taken && t.place.named() && !strings.HasSuffix(t.place.address, ":0") {
			errs = append(errs, fmt.Errorf("%s: %s is the address of %s already; want another one", t.name, t.place.address, other))
		}
		names[t.place.address] = t.name
		switch {
		case t.place.isSocket():
			sockets++
		case t.place.shared() && !common.shared():
			errs = append(errs, fmt.Errorf("%s: socket-mode and socket-group are for unix sockets; want listen=/path too", t.name))
		}
	}
	if common.shared() && sockets == 0 {
		errs = append(errs, errors.New("-socket-mode and -socket-group are for unix sockets; want -listen /path too"))
	}
	return errors.Join(errs...)
}

func parseTarget(arg string, common place) (target, error) {
	name, query, _ := strings.Cut(arg, "?")
	t := target{name: name, place: common}
	params, err := url.ParseQuery(query)
	if err != nil {
		return t, err
	}
	if params.Has("port") && params.Has("listen") {
		return t, errors.New("port and listen: want one of them")
	}
	for key, values := range params {
		if len(values) > 1 {
			return t, fmt.Errorf("%s: want one value, got %d", key, len(values))
		}
		if err := t.set(key, values[0]); err != nil {
			return t, fmt.Errorf("%s: %w", key, err)
		}
	}
	return t, nil
}

// set sets a parameter.
func (t *target) set(key, value string) error {
	switch key {
	case "listen":
		t.place.address = value
	case "port":
		t.place.address = net.JoinHostPort("127.0.0.1", value)
	case "socket-mode":
		return t.place.setMode(value)
	case "socket-group":
		return t.place.setGroup(value)
	case "iam":
		on := value == "" || value == "true"
		if !on && value != "false" {
			return fmt.Errorf("want true or false, got %q", value)
		}
		t.iam = on
		t.opts = append(t.opts, cloudsqlconn.WithIAMAuthN(on))
	case "ip-types":
		t.ipTypes = true
		types, err := cloudsqlconn.ParseIPTypes(value)
		t.opts = append(t.opts, cloudsqlconn.WithIPTypes(types...))
		return err
	case "sql-data":
		mode, err := cloudsqlconn.ParseSQLDataMode(value)
		t.sqlData = mode
		t.opts = append(t.opts, cloudsqlconn.WithSQLData(mode))
		return err
	default:
		return errors.New("want one of iam, ip-types, listen, port, socket-group, socket-mode, sql-data")
	}
	return nil
}
