package interop

import (
	"reflect"
	"strings"
	"testing"

	generated "google.golang.org/api/sqladmin/v1beta4"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqladmin"
)

// The messages that the library and its kit exchange are written by hand. Each
// field must be one of the API's, as Google's generated client has it, and of
// the same form.
func TestMessagesAreTheAPIs(t *testing.T) {
	t.Parallel()
	compared := 0
	for ours, theirs := range map[any]any{
		sqladmin.GenerateEphemeralCertRequest{}:  generated.GenerateEphemeralCertRequest{},
		sqladmin.GenerateEphemeralCertResponse{}: generated.GenerateEphemeralCertResponse{},
		new(sqladmin.ConnectSettings):            new(generated.ConnectSettings),
	} {
		compared += sameForm(t, reflect.TypeOf(ours), reflect.TypeOf(theirs), "")
	}
	if compared < 40 {
		t.Errorf("compared %d fields, want all", compared)
	}
}

// sameForm reports fields of ours that theirs has not, and returns how many it has compared.
func sameForm(t *testing.T, ours, theirs reflect.Type, path string) int {
	t.Helper()
	if ours.Kind() != theirs.Kind() {
		t.Errorf("%s is %s, the API has %s", path, ours, theirs)
		return 0
	}
	switch ours.Kind() {
	case reflect.Pointer, reflect.Slice:
		return sameForm(t, ours.Elem(), theirs.Elem(), path)
	case reflect.Struct:
	default:
		return 1
	}
	fields := map[string]reflect.Type{}
	for f := range fieldsOf(theirs) {
		fields[f.Tag.Get("json")] = f.Type
	}
	n := 0
	for f := range fieldsOf(ours) {
		tag := f.Tag.Get("json")
		if theirs, ok := fields[tag]; ok {
			n += sameForm(t, f.Type, theirs, path+"."+strings.TrimSuffix(tag, ",omitempty"))
		} else {
			t.Errorf("%s: the API has no field %q", path, tag)
		}
	}
	return n
}

// fieldsOf yields the fields of a struct that are part of its JSON.
func fieldsOf(s reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for f := range s.Fields() {
			if f.Tag.Get("json") != "-" && !yield(f) {
				return
			}
		}
	}
}
