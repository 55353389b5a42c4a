package cloudsqltest

import (
	"fmt"
	"reflect"
)

// constant returns the name of a constant of an enumerated type, whose values
// begin at zero, or the type and the number of one that there is not.
func constant[T ~int](v T, names ...string) string {
	if v < 0 || int(v) >= len(names) {
		return fmt.Sprintf("%s(%d)", reflect.TypeFor[T]().Name(), int(v))
	}
	return names[v]
}
