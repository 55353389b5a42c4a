package pgsqlite

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/ncruces/go-sqlite3"
)

// timeFormat is how times are stored: of one width and zone, so that they sort as text.
const timeFormat = "2006-01-02 15:04:05.000000Z"

var storedTimeRE = regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}Z$`)

func (s *session) createFunctions() {
	_ = s.db.CreateFunction("now", 0, sqlite3.INNOCUOUS, func(ctx sqlite3.Context, _ ...sqlite3.Value) {
		ctx.ResultText(s.now.UTC().Format(timeFormat))
	})
	_ = s.db.CreateFunction("version", 0, sqlite3.INNOCUOUS, func(ctx sqlite3.Context, _ ...sqlite3.Value) {
		ctx.ResultText("PostgreSQL " + serverVersion)
	})
	for name, value := range map[string]string{
		"current_user": s.user, "current_role": s.user, "session_user": s.user,
		"current_database": s.database, "current_catalog": s.database, "current_schema": "public",
	} {
		_ = s.db.CreateFunction(name, 0, sqlite3.INNOCUOUS, func(ctx sqlite3.Context, _ ...sqlite3.Value) { ctx.ResultText(value) })
	}
	_ = s.db.CreateFunction("current_setting", 1, sqlite3.INNOCUOUS, func(ctx sqlite3.Context, arg ...sqlite3.Value) {
		ctx.ResultText(s.settings[strings.ToLower(arg[0].Text())])
	})
	_ = s.db.CreateFunction("gen_random_uuid", 0, sqlite3.INNOCUOUS, func(ctx sqlite3.Context, _ ...sqlite3.Value) {
		var id [16]byte
		rand.Read(id[:])
		id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // version 4, as RFC 9562 has it
		ctx.ResultText(fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:]))
	})
}

// typeOID returns the PostgreSQL type for a declared one, or 0 for none. As SQLite does, it looks for parts of a name.
func typeOID(declared string) uint32 {
	if declared == "" {
		return 0
	}
	for _, t := range []struct {
		part string
		oid  uint32
	}{
		{"INT", pgtype.Int8OID}, {"BOOL", pgtype.BoolOID}, {"DOUB", pgtype.Float8OID}, {"REAL", pgtype.Float8OID},
		{"FLOA", pgtype.Float8OID}, {"NUMERIC", pgtype.NumericOID}, {"DECIMAL", pgtype.NumericOID},
		{"JSONB", pgtype.JSONBOID}, {"JSON", pgtype.JSONOID}, {"TIMESTAMP", pgtype.TimestamptzOID}, {"BYTEA", pgtype.ByteaOID}, {"BLOB", pgtype.ByteaOID},
	} {
		if strings.Contains(strings.ToUpper(declared), t.part) {
			return t.oid
		}
	}
	return pgtype.TextOID
}

// format picks the format of value i as Bind defines it: without any it is text, and one is for all.
func format(codes []int16, i int) int16 {
	switch {
	case len(codes) == 1:
		return codes[0]
	case i < len(codes):
		return codes[i]
	default:
		return pgtype.TextFormatCode
	}
}

// decode reads an argument or a quoted value as SQLite is to store it. It is text if it has no type.
func decode(m *pgtype.Map, oid uint32, format int16, src []byte) (any, error) {
	var v any = string(src)
	var err error
	switch t, ok := m.TypeForOID(oid); {
	case src == nil:
		return nil, nil
	case oid == pgtype.TimestamptzOID && format == pgtype.TextFormatCode:
		v, err = sqlite3.TimeFormatAuto.Decode(string(src))
	case ok:
		v, err = t.Codec.DecodeDatabaseSQLValue(m, oid, format, src)
	}
	switch t := v.(type) {
	case time.Time:
		v = t.UTC().Format(timeFormat)
	case []byte:
		if oid == pgtype.JSONOID || oid == pgtype.JSONBOID {
			if v = string(t); !json.Valid(t) {
				err = errors.New("invalid input syntax for type json")
			}
		}
	}
	if err != nil {
		err = &sqlError{"22P02", err.Error()}
	}
	return v, err
}

// bindAll gives stmt its arguments; the one named $2 is args[1].
func bindAll(stmt *sqlite3.Stmt, args []any) error {
	for i := 1; i <= stmt.BindCount(); i++ {
		name := stmt.BindName(i)
		n, err := strconv.Atoi(strings.TrimPrefix(name, "$"))
		if err != nil || n < 1 || n > len(args) {
			return &sqlError{"42P02", "there is no parameter " + name}
		}
		switch v := args[n-1].(type) {
		case nil:
			err = stmt.BindNull(i)
		case bool:
			err = stmt.BindBool(i, v)
		case int64:
			err = stmt.BindInt64(i, v)
		case float64:
			err = stmt.BindFloat(i, v)
		case string:
			err = stmt.BindText(i, v)
		case []byte:
			err = stmt.BindBlob(i, v)
		default:
			err = fmt.Errorf("parameter %s is a %T", name, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// encode writes column i of the current row.
func encode(m *pgtype.Map, oid uint32, format int16, stmt *sqlite3.Stmt, i int) ([]byte, error) {
	kind := stmt.ColumnType(i) // before ColumnText, which may change it
	text := stmt.ColumnText(i)
	var v any = text
	switch kind {
	case sqlite3.NULL:
		return nil, nil
	case sqlite3.INTEGER:
		if v = stmt.ColumnInt64(i); oid == pgtype.BoolOID {
			v = v != int64(0)
		}
	case sqlite3.FLOAT:
		v = stmt.ColumnFloat(i)
	case sqlite3.BLOB:
		v = stmt.ColumnBlob(i, nil)
	}
	switch oid {
	case 0, pgtype.TextOID:
		return []byte(text), nil
	case pgtype.TimestamptzOID:
		t, err := sqlite3.TimeFormatAuto.Decode(v)
		if err != nil {
			return nil, err
		}
		v = t
	}
	b, err := m.Encode(oid, format, v, nil)
	if oid == pgtype.TimestamptzOID && format == pgtype.TextFormatCode {
		b = bytes.Replace(b, []byte("Z"), []byte("+00"), 1) // as PostgreSQL writes it
	}
	return b, err
}
