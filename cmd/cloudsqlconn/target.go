package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// target is an instance that proxy serves, as an argument names it.
type target struct {
	name  string
	place place
	opts  []cloudsqlconn.DialOption
}

// parseTargets parses the arguments of proxy: names of instances, each with
// parameters that override the flags, such as
// my-project:europe-west1:my-db?port=5433&iam.
func parseTargets(args []string, common place) ([]target, error) {
	switch {
	case len(args) == 0:
		return nil, errors.New("want an instance, after the flags; got no argument")
	case len(args) > 1 && common.address != "":
		return nil, fmt.Errorf("-listen is for one instance, got %d: want an address for each, such as %s?listen=127.0.0.1:5433", len(args), args[1])
	}
	var list []target
	for _, arg := range args {
		t, err := parseTarget(arg, common)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", arg, err)
		}
		list = append(list, t)
	}
	return list, nil
}

func parseTarget(arg string, common place) (target, error) {
	name, query, _ := strings.Cut(arg, "?")
	t := target{name: name, place: common}
	params, err := url.ParseQuery(query)
	if err != nil {
		return t, err
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
		t.opts = append(t.opts, cloudsqlconn.WithDialIAMAuthN(on))
	case "ip-types":
		types, err := cloudsqlconn.ParseIPTypes(value)
		t.opts = append(t.opts, cloudsqlconn.WithIPTypes(types...))
		return err
	case "sql-data":
		mode, err := cloudsqlconn.ParseSQLDataMode(value)
		t.opts = append(t.opts, cloudsqlconn.WithSQLData(mode))
		return err
	default:
		return errors.New("want one of iam, ip-types, listen, port, socket-group, socket-mode, sql-data")
	}
	return nil
}
