package cloudsqltest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// Calls of a [Rule] besides those of the Admin API: connections to instances, and
// streams of SQL Data.
const (
	Connect       = "connect"
	StreamSQLData = "streamSqlData"
)

// Rule is a fault in words: it says what goes wrong, where and how often. It is for
// programs whose users ask for faults; tests have [Server.OnRequest],
// [Server.OnConnect] and [EmulatedInstance.SetBehavior], which can do more.
type Rule struct {
	Instance    string        // project:region:instance; empty: any
	Call        string        // ConnectSettings, GenerateEphemeralCert, ResolveConnectSettings, Connect, StreamSQLData; empty: any that the kind applies to
	Probability float64       // above 0, at most 1; zero means 1
	Times       int           // how often it happens; zero means always
	Kind        string        // one of [RuleKinds]
	Delay       time.Duration // of the answer; with any kind for requests and streams
	Status      int           // for the kind status; a stream ends with the gRPC code that it stands for
	Body        string        // for the kinds status, where it is optional, and body
	Header      string        // a line, "Name: value"; with any kind for requests that sends an answer
}

// A new fault begins with what it happens to: Fault (apifault.go), Behavior
// (behavior.go), StreamFault (streamfault.go), DNSFault (dns.go). Here the first three
// have names.

// ruleKind is a kind of fault, of requests or of connections.
type ruleKind struct {
	name     string
	fault    *Fault   // for requests: to be completed by the rule
	behavior Behavior // for connections
	streams  bool     // fault is for streams of SQL Data, too
	needs    string   // what a rule of it must have, the field of the same name: an example
}

var ruleKinds = []ruleKind{
	{name: "delay", fault: &Fault{}, streams: true, needs: "delay=2s"},
	{name: "hang", fault: &Fault{Hang: true}, streams: true},
	{name: "status", fault: &Fault{}, streams: true, needs: "status=503"},
	{name: "body", fault: &Fault{}, needs: "body={}"},
	{name: "header", fault: &Fault{}, needs: "header=Name: value"},
	{name: "truncate", fault: &Fault{Alter: func(b []byte) []byte { return b[:len(b)/2] }}},
	{name: "reset-at-start", fault: &Fault{ResetAt: AtStart}},
	{name: "reset-in-headers", fault: &Fault{ResetAt: InHeaders}},
	{name: "reset-in-body", fault: &Fault{ResetAt: InBody}},
	{name: "end-at-start", fault: &Fault{CutAt: AtStart}},
	{name: "end-in-headers", fault: &Fault{CutAt: InHeaders}},
	{name: "end-in-body", fault: &Fault{CutAt: InBody}},
	{name: "silent", behavior: Silent},
	{name: "stall-handshake", behavior: StallHandshake},
	{name: "close-at-once", behavior: CloseAtOnce},
	{name: "reset-at-once", behavior: ResetAtOnce},
	{name: "unreachable", behavior: Unreachable},
	{name: "close-after-refusal", behavior: CloseAfterRefusal},
}

// RuleKinds returns what [Rule].Kind can be: for requests delay, hang, status,
// body, header, truncate, and reset- or end- with at-start, in-headers or in-body,
// as [Fault] describes them; for streams delay, hang and status, as [StreamFault]
// does; for connections the [Behavior] constants, in lower case: silent,
// stall-handshake, close-at-once, reset-at-once, unreachable, close-after-refusal.
func RuleKinds() (names []string) {
	for _, k := range ruleKinds {
		names = append(names, k.name)
	}
	return names
}

// ParseRule parses a rule written as key=value pairs separated by commas. The keys
// are the names of Rule's fields in lower case:
//
//	instance=my-project:europe-west1:my-db,call=connectSettings,probability=0.2,kind=status,status=503
//
// A value cannot contain a comma. The rule is checked by Validate.
func ParseRule(text string) (Rule, error) {
	var r Rule
	seen := map[string]bool{}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(pair, "=")
		key = strings.TrimSpace(key)
		if !ok || seen[key] {
			return Rule{}, fmt.Errorf("rule %q: want key=value once, got %q", text, pair)
		}
		seen[key] = true
		var err error
		switch key {
		case "instance":
			r.Instance = value
		case "call":
			r.Call = value
		case "probability":
			r.Probability, err = strconv.ParseFloat(value, 64)
			if err == nil && r.Probability == 0 {
				err = errors.New("want above 0")
			}
		case "times":
			r.Times, err = strconv.Atoi(value)
		case "kind":
			r.Kind = value
		case "delay":
			r.Delay, err = time.ParseDuration(value)
		case "status":
			r.Status, err = strconv.Atoi(value)
		case "body":
			r.Body = value
		case "header":
			r.Header = value
		default:
			err = errors.New("unknown key; want instance, call, probability, times, kind, delay, status, body, header")
		}
		if err != nil {
			return Rule{}, fmt.Errorf("rule %q: %s: %w", text, key, err)
		}
	}
	return r, r.Validate()
}

// Validate says what is wrong with the rule.
func (r Rule) Validate() error {
	_, _, err := r.check()
	return err
}

// check returns what is wrong with the rule, or the kind that it is of, and the key of
// the instance that it is for, "" if for any.
func (r Rule) check() (kind ruleKind, key string, err error) {
	fail := func(format string, args ...any) (ruleKind, string, error) {
		return ruleKind{}, "", fmt.Errorf("rule %q: %w", r, fmt.Errorf(format, args...))
	}
	if r.Instance != "" {
		n, err := cloudsqlconn.ParseName(r.Instance)
		if err != nil {
			return fail("instance: %w", err)
		}
		key = n.Project() + ":" + n.Instance()
	}
	i := slices.IndexFunc(ruleKinds, func(k ruleKind) bool { return k.name == r.Kind })
	if i < 0 {
		return fail("unknown kind; want %s", strings.Join(RuleKinds(), ", "))
	}
	kind = ruleKinds[i]
	name, _, ok := strings.Cut(r.Header, ":")
	switch {
	case r.Call != "" && r.Call != Connect && r.Call != StreamSQLData && methods[r.Call] == "":
		return fail("unknown call; want %s, %s, %s, %s or %s", ConnectSettings, GenerateEphemeralCert, ResolveConnectSettings, Connect, StreamSQLData)
	case r.Call != "" && (kind.fault == nil) != (r.Call == Connect), r.Call == StreamSQLData && !kind.streams:
		return fail("the call %s has no fault of this kind", r.Call)
	case !(r.Probability >= 0 && r.Probability <= 1): // NaN is neither
		return fail("probability: want above 0, at most 1")
	case r.Times < 0 || r.Delay < 0:
		return fail("times and delay cannot be negative")
	case r.Status != 0 && (r.Status < 200 || r.Status > 599):
		return fail("status: want 200 to 599")
	case kind.fault == nil && (r.Delay != 0 || r.Header != ""):
		return fail("delay and header are for requests")
	case r.Call == StreamSQLData && r.Header != "":
		return fail("header is for requests")
	case r.Status != 0 && r.Kind != "status":
		return fail("status is for the kind status")
	case r.Body != "" && r.Kind != "status" && r.Kind != "body":
		return fail("body is for the kinds status and body")
	case r.Kind == "delay" && r.Delay == 0, r.Kind == "status" && r.Status == 0, r.Kind == "body" && r.Body == "", r.Kind == "header" && r.Header == "":
		return fail("kind %s needs %s, such as %s", r.Kind, r.Kind, kind.needs)
	case r.Header != "" && (!ok || strings.TrimSpace(name) == "" || strings.ContainsAny(r.Header, "\r\n")):
		return fail(`header: want one line, "Name: value"`)
	}
	return kind, key, nil
}

// String returns the rule in the form that ParseRule parses.
func (r Rule) String() string {
	var pairs []string
	add := func(key string, value any, has bool) {
		if has {
			pairs = append(pairs, fmt.Sprint(key, "=", value))
		}
	}
	add("instance", r.Instance, r.Instance != "")
	add("call", r.Call, r.Call != "")
	add("probability", r.Probability, r.Probability != 0)
	add("times", r.Times, r.Times != 0)
	add("kind", r.Kind, true)
	add("delay", r.Delay, r.Delay != 0)
	add("status", r.Status, r.Status != 0)
	add("body", r.Body, r.Body != "")
	add("header", r.Header, r.Header != "")
	return strings.Join(pairs, ",")
}
