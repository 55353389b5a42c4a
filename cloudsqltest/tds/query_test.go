package tds_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mssql "github.com/microsoft/go-mssqldb"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/tds"
)

var one = tds.Result{Columns: []tds.Column{{Name: "n", Type: tds.Int}}, Rows: [][]any{{1}}}

// anybody logs in, and needs no memory of it.
const anybody = "user id=app;encrypt=disable"

func TestEveryTypeOfColumnArrives(t *testing.T) {
	t.Parallel()
	s := &tds.Server{}
	at := time.Date(2026, 11, 22, 23, 59, 59, 123456700, time.UTC)
	long := strings.Repeat("ä𝄞", 20000)
	guid := "01234567-89AB-CDEF-0123-456789ABCDEF"
	s.Answer("select *", tds.Result{
		Columns: []tds.Column{
			{Name: "i", Type: tds.Int}, {Name: "b", Type: tds.BigInt}, {Name: "t", Type: tds.Bit}, {Name: "f", Type: tds.Float},
			{Name: "d", Type: tds.Decimal, Scale: 2}, {Name: "s"}, {Name: "x", Type: tds.VarBinary}, {Name: "w", Type: tds.DateTime2},
			{Name: "g", Type: tds.UniqueIdentifier},
		},
		Rows: [][]any{
			{-7, int64(-1 << 62), true, -0.5, "-12345678901234567890.12", long, bytes.Repeat([]byte{0, 255}, 9000), at, guid},
			{int32(7), 1 << 40, false, 1e300, "0.05", "", []byte{}, time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), strings.ToLower(guid)},
			{nil, nil, nil, nil, nil, nil, nil, nil, nil},
		},
	})
	rows, err := open(t, s, anybody+";packet size=512").QueryContext(t.Context(), " select *\n")
	wantNil(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	wantNil(t, err)
	if got := strings.Join(columns, ""); got != "ibtfdsxwg" {
		t.Errorf("columns %q", got)
	}
	var got [][]any
	for rows.Next() {
		row := make([]any, len(columns))
		to := make([]any, len(columns))
		for i := range row {
			to[i] = &row[i]
		}
		wantNil(t, rows.Scan(to...))
		got = append(got, row)
	}
	wantNil(t, rows.Err())
	wire := []byte{0x67, 0x45, 0x23, 0x01, 0xab, 0x89, 0xef, 0xcd, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}
	want := [][]any{
		{int64(-7), int64(-1 << 62), true, -0.5, []byte("-12345678901234567890.12"), long, bytes.Repeat([]byte{0, 255}, 9000), at, wire},
		{int64(7), int64(1 << 40), false, 1e300, []byte("0.05"), "", []byte{}, time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), wire},
		{nil, nil, nil, nil, nil, nil, nil, nil, nil},
	}
	if len(got) != len(want) {
		t.Fatalf("%d rows", len(got))
	}
	for i := range want {
		for k := range want[i] {
			if !reflect.DeepEqual(got[i][k], want[i][k]) {
				t.Errorf("row %d, column %s: got %.80v, want %.80v", i, columns[k], got[i][k], want[i][k])
			}
		}
	}
}

func TestParametersArriveWithTheirTypes(t *testing.T) {
	t.Parallel()
	s := &tds.Server{}
	s.Answer("insert @p1", tds.Result{RowsAffected: 3})
	db := open(t, s, anybody)
	at := time.Date(2026, 11, 22, 1, 2, 3, 400000000, time.FixedZone("", 3600))
	long := strings.Repeat("x", 5000)
	for _, p := range []struct {
		value any
		kind  string
		want  any
	}{
		{int64(-1), "bigint", int64(-1)},
		{true, "bit", true},
		{1.5, "float", 1.5},
		{"ä𝄞", "nvarchar", "ä𝄞"},
		{"", "nvarchar", ""},
		{long, "nvarchar", long},
		{[]byte{0, 1}, "varbinary", []byte{0, 1}},
		{at, "datetimeoffset", at},
		{mssql.VarChar("abc"), "varchar", "abc"},
		{mssql.DateTime1(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)), "datetime", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		{mssql.UniqueIdentifier{0x01, 0x23, 0x45, 0x67, 0x89, 0xab}, "uniqueidentifier", "01234567-89AB-0000-0000-000000000000"},
		{sql.NullInt64{}, "bigint", nil},
		{sql.NullString{}, "nvarchar", nil},
		{nil, "null", nil},
	} {
		r, err := db.ExecContext(t.Context(), "insert @p1", p.value)
		if err != nil {
			t.Errorf("%T: %v", p.value, err)
			continue
		}
		if n, _ := r.RowsAffected(); n != 3 {
			t.Errorf("%d rows affected", n)
		}
		queries := session(t, s).Queries
		q := queries[len(queries)-1]
		if q.Text != "insert @p1" || q.Procedure != "" || len(q.Params) != 1 {
			t.Errorf("%T: got %+v", p.value, q)
			continue
		}
		got := q.Params[0]
		same := reflect.DeepEqual(got.Value, p.want)
		if when, ok := p.want.(time.Time); ok {
			value, _ := got.Value.(time.Time)
			same = value.Equal(when)
		}
		if got.Name != "@p1" || got.Type != p.kind || !same {
			t.Errorf("%T: got %.80v, want %s %.80v", p.value, got, p.kind, p.want)
		}
	}
}

// As they travel, for types that clients seldom use; [MS-TDS] 2.2.5.5.
func TestParametersOfOtherTypesAreRead(t *testing.T) {
	t.Parallel()
	day := func(year int, month time.Month, day, hour, minute, second, ns int) time.Time {
		return time.Date(year, month, day, hour, minute, second, ns, time.UTC)
	}
	for _, tt := range []struct {
		wire []byte // TYPE_INFO and value
		kind string
		want any
	}{
		{[]byte{0x26, 1, 1, 200}, "tinyint", int64(200)},
		{[]byte{0x26, 2, 2, 0xff, 0xff}, "smallint", int64(-1)},
		{[]byte{0x26, 4, 4, 0xfe, 0xff, 0xff, 0xff}, "int", int64(-2)},
		{[]byte{0x6d, 4, 4, 0, 0, 0xc0, 0x3f}, "real", 1.5},
		{[]byte{0x6a, 5, 9, 3, 5, 0, 0xd2, 0x04, 0, 0}, "decimal", "-1.234"},
		{[]byte{0x6c, 5, 9, 0, 5, 1, 7, 0, 0, 0}, "decimal", "7"},
		{[]byte{0x6e, 4, 4, 0x10, 0x27, 0, 0}, "money", "1.0000"},
		{[]byte{0x6e, 8, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, "money", "-0.0001"},
		{[]byte{0x6f, 4, 4, 1, 0, 61, 0}, "smalldatetime", day(1900, 1, 2, 1, 1, 0, 0)},
		{[]byte{0x6f, 8, 8, 0xff, 0xff, 0xff, 0xff, 150, 0, 0, 0}, "datetime", day(1899, 12, 31, 0, 0, 0, 5e8)},
		{[]byte{0x28, 3, 31, 0, 0}, "date", day(1, 2, 1, 0, 0, 0, 0)},
		{[]byte{0x29, 0, 3, 61, 0, 0}, "time", day(1, 1, 1, 0, 1, 1, 0)},
		{[]byte{0x29, 3, 4, 1, 0, 0, 0}, "time", day(1, 1, 1, 0, 0, 0, 1e6)},
		{[]byte{0x2a, 7, 8, 1, 0, 0, 0, 0, 1, 0, 0}, "datetime2", day(1, 1, 2, 0, 0, 0, 100)},
		{[]byte{0xad, 2, 0, 2, 0, 1, 2}, "varbinary", []byte{1, 2}},
		{[]byte{0xaf, 2, 0, 0, 0, 0, 0, 0, 2, 0, 'a', 'b'}, "varchar", "ab"},
		{[]byte{0xef, 2, 0, 0, 0, 0, 0, 0, 2, 0, 'a', 0}, "nvarchar", "a"},
		{[]byte{0xe7, 2, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, "nvarchar", nil},
		{[]byte{0x24, 16, 0}, "uniqueidentifier", nil},
	} {
		s := &tds.Server{}
		say(s, rpc(append([]byte{0, 0, 0xe7, 2, 0, 0, 0, 0, 0, 0, 2, 0, 'q', 0, 0, 0, 0x1f, 0, 0}, tt.wire...)...))
		got := session(t, s)
		if len(got.Queries) != 1 || got.Queries[0].Text != "q" || len(got.Queries[0].Params) != 1 {
			t.Errorf("%x: got %+v", tt.wire, got)
			continue
		}
		if p := got.Queries[0].Params[0]; p.Type != tt.kind || !reflect.DeepEqual(p.Value, tt.want) {
			t.Errorf("%x: got %s %v, want %s %v", tt.wire, p.Type, p.Value, tt.kind, tt.want)
		}
	}
}

func TestProceduresAreCalledByName(t *testing.T) {
	t.Parallel()
	s := &tds.Server{}
	s.Answer("dbo.close_till", one)
	var n int
	wantNil(t, open(t, s, anybody).QueryRowContext(t.Context(), "dbo.close_till", sql.Named("till", 7)).Scan(&n))
	q := session(t, s).Queries[0]
	if n != 1 || q.Procedure != "dbo.close_till" || q.Text != "" || len(q.Params) != 1 || q.Params[0] != (tds.Param{Name: "@till", Type: "bigint", Value: int64(7)}) {
		t.Errorf("got %d, %+v", n, q)
	}
}

func TestTransactionsAreKept(t *testing.T) {
	t.Parallel()
	s := &tds.Server{}
	s.Answer("update t", tds.Result{RowsAffected: 1})
	db := open(t, s, anybody)
	for _, end := range []func(*sql.Tx) error{(*sql.Tx).Commit, (*sql.Tx).Rollback, (*sql.Tx).Commit} {
		tx, err := db.BeginTx(t.Context(), nil)
		wantNil(t, err)
		_, err = tx.ExecContext(t.Context(), "update t")
		wantNil(t, err)
		wantNil(t, end(tx))
	}
	_, err := db.ExecContext(t.Context(), "update t")
	wantNil(t, err)
	got := session(t, s)
	if got.Begun != 3 || got.Committed != 2 || got.RolledBack != 1 || got.Resets != 4 {
		t.Errorf("got %+v", got)
	}
	for i, q := range got.Queries {
		if q.InTransaction != (i < 3) {
			t.Errorf("query %d: in a transaction: %v", i, q.InTransaction)
		}
	}
}

func TestErrorsAreThoseOfTheHandler(t *testing.T) {
	t.Parallel()
	s := &tds.Server{Handle: func(_ context.Context, q tds.Query) (tds.Result, error) {
		switch q.Text {
		case "a deadlock":
			return tds.Result{}, &tds.Error{Number: 1205, State: 51, Class: 13, Message: "deadlock victim"}
		case "bad row":
			return tds.Result{Columns: one.Columns, Rows: [][]any{{"x"}}}, nil
		}
		return tds.Result{}, errors.New("other: " + strings.Repeat("é", 5000))
	}}
	db := open(t, s, anybody)
	for query, want := range map[string]mssql.Error{
		"a deadlock": {Number: 1205, State: 51, Class: 13, Message: "deadlock victim"},
		"bad row":    {Number: 50000, State: 1, Class: 16, Message: `row 0, column "n": a string does not go there`},
		"any other":  {Number: 50000, State: 1, Class: 16, Message: "other: " + strings.Repeat("é", 3993)},
	} {
		_, err := db.ExecContext(t.Context(), query)
		var got mssql.Error
		if !errors.As(err, &got) || got.Number != want.Number || got.State != want.State || got.Class != want.Class || got.Message != want.Message {
			t.Errorf("%s: got %v, want %v", query, err, want)
		}
	}
	if got := session(t, s); len(got.Queries) != 3 || got.Ended {
		t.Errorf("got %+v", got)
	}
}

func TestAnUnknownQueryIsAnErrorThatNamesIt(t *testing.T) {
	t.Parallel()
	_, err := open(t, &tds.Server{}, anybody).ExecContext(t.Context(), "select 2")
	if err == nil || !strings.Contains(err.Error(), `"select 2"`) {
		t.Errorf("got %v", err)
	}
}

func TestACancelledQueryLeavesTheSessionUsable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &tds.Server{Handle: func(ctx context.Context, _ tds.Query) (tds.Result, error) {
			<-ctx.Done()
			return tds.Result{}, ctx.Err()
		}}
		s.Answer("select 1", one)
		db := open(t, s, anybody)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel) // go-mssqldb gives a session up after a deadline
		if _, err := db.ExecContext(ctx, "waitfor delay '1:0'"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		var n int
		wantNil(t, db.QueryRowContext(t.Context(), "select 1").Scan(&n))
		if got := session(t, s); got.Attentions != 1 || got.Ended || n != 1 {
			t.Errorf("got %+v", got)
		}
	})
}

func TestAHandlerIsToldThatTheClientHasGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		told := make(chan struct{})
		s := &tds.Server{Handle: func(ctx context.Context, _ tds.Query) (tds.Result, error) {
			<-ctx.Done()
			close(told)
			return tds.Result{}, ctx.Err()
		}}
		say(s, conversation(s, "waitfor"))
		<-told
		if got := session(t, s); !got.Ended || got.Err != nil {
			t.Errorf("got %+v", got)
		}
	})
}
