package tds

import "fmt"

// Query is what a client wants to run: a batch, or a remote procedure call. For
// sp_executesql, Text is its statement, and Params are the statement's parameters.
type Query struct {
	Text          string
	Procedure     string // the name of a procedure called by name; then Text is empty
	Params        []Param
	InTransaction bool // started by a transaction request
}

// Param is a parameter of a Query.
type Param struct {
	Name string // such as "@p1"
	Type string // such as "bigint" or "nvarchar"; "null" for a NULL without a type

	// Value is nil, an int64, bool, float64, string, []byte or time.Time. A
	// decimal, money or uniqueidentifier is a string.
	Value any
}

// headers skips ALL_HEADERS, [MS-TDS] 2.2.5.3.
func (r *reader) headers() {
	n := r.uint32()
	if n < 4 {
		r.fail("ALL_HEADERS of %d bytes", n)
		return
	}
	r.bytes(int(n) - 4)
}

func parseBatch(data []byte) (Query, error) {
	r := &reader{data: data}
	r.headers()
	return Query{Text: text(r.data)}, r.err
}

// spExecuteSQL is the number of sp_executesql, [MS-TDS] 2.2.6.6.
const spExecuteSQL = 10

func parseRPC(data []byte) (q Query, err error) {
	r := &reader{data: data}
	r.headers()
	var id uint16
	if n := r.uint16(); n == 0xffff {
		id = r.uint16()
	} else {
		q.Procedure = text(r.bytes(2 * int(n)))
	}
	r.uint16() // flags
	for len(r.data) > 0 && r.err == nil {
		p := Param{Name: r.text8()}
		r.byte() // flags
		t := r.typeInfo()
		if r.err == nil {
			p.Type, p.Value = r.value(t)
		}
		q.Params = append(q.Params, p)
	}
	switch {
	case r.err != nil:
		return Query{}, r.err
	case q.Procedure != "" && q.Procedure != "sp_executesql":
		return q, nil
	case q.Procedure == "" && id != spExecuteSQL:
		return Query{}, fmt.Errorf("the system procedure %d is not known here", id)
	}
	if len(q.Params) > 0 {
		q.Text, _ = q.Params[0].Value.(string)
		q.Params = q.Params[min(2, len(q.Params)):] // the second declares the others
	}
	q.Procedure = ""
	return q, nil
}

// Transaction requests, [MS-TDS] 2.2.6.9.
const (
	xactBegin    = 5
	xactCommit   = 7
	xactRollback = 8
)

// parseTransact returns the request.
func parseTransact(data []byte) (request uint16, err error) {
	r := &reader{data: data}
	r.headers()
	request = r.uint16()
	return request, r.err
}

// parseBulk returns the rows of a bulk load, [MS-TDS] 2.2.6.1.
func parseBulk(data []byte) (rows [][]any, err error) {
	r := &reader{data: data}
	if t := r.byte(); t != tokenColMetadata {
		r.fail("a bulk load that begins with the token %#02x", t)
	}
	var columns []typeInfo
	for range r.uint16() {
		r.uint32() // user type
		r.uint16() // flags
		c := r.typeInfo()
		if c.tok == tokNull {
			r.fail("a column of the type NULL") // its values would take no bytes
		}
		columns = append(columns, c)
		r.text8() // name
		if r.err != nil {
			return nil, r.err
		}
	}
	if len(columns) == 0 {
		r.fail("a bulk load without columns")
	}
	for r.err == nil {
		switch t := r.byte(); {
		case r.err != nil:
		case t == tokenDone:
			return rows, nil
		case t != tokenRow:
			r.fail("a bulk load with the token %#02x", t)
		default:
			row := make([]any, len(columns))
			for i, c := range columns {
				_, row[i] = r.value(c)
			}
			rows = append(rows, row)
		}
	}
	return nil, r.err
}
