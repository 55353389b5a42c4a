package admin_test

import (
	"reflect"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
)

// A pool has nodes, each with addresses of its own; a node may lack any field.
func TestReadPool(t *testing.T) {
	t.Parallel()
	ip := func(kind, ip string) object { return object{"type": kind, "ipAddress": ip} }
	psc := func(name string) object {
		return object{"name": name, "connectionType": "PRIVATE_SERVICE_CONNECT", "dnsScope": "INSTANCE"}
	}
	info := mustFetch(t, settings(object{"nodeCount": 4, "nodes": []any{
		object{"name": "a", "ipAddresses": []any{ip("PRIMARY", "203.0.113.1"), ip("OUTGOING", "203.0.113.9")}, "dnsNames": []any{psc("a.sql-psc.goog.")}},
		nil,
		object{"name": "b", "ipAddresses": []any{nil, ip("PRIVATE", "10.0.0.2")}, "dnsName": "b.sql.goog."},
		object{"name": "c", "ipAddresses": nil, "dnsNames": []any{object{"name": "c.example.com", "connectionType": "PUBLIC"}}},
	}}))
	want := []admin.Addrs{
		{admin.Public: {"203.0.113.1"}, admin.PSC: {"a.sql-psc.goog"}},
		{admin.Private: {"10.0.0.2"}, admin.PSC: {"b.sql.goog"}},
	}
	if !reflect.DeepEqual(info.Nodes, want) {
		t.Errorf("Nodes are %v, want %v", info.Nodes, want)
	}
	if info.Addrs[admin.Public][0] != "203.0.113.10" {
		t.Errorf("the pool's own addresses are %v", info.Addrs)
	}
}

func TestSameMetadata(t *testing.T) {
	t.Parallel()
	a := settings()
	one, other := mustFetch(t, a), mustFetch(t, a)
	if !one.SameMetadata(other) {
		t.Error("equal replies are not the same metadata")
	}
	moved := mustFetch(t, settings(object{"ipAddresses": []any{object{"type": "PRIMARY", "ipAddress": "203.0.113.99"}}}))
	if one.SameMetadata(moved) {
		t.Error("another address is the same metadata")
	}
}
