package tds

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"strings"
	"time"
)

// Type is the SQL type of a column.
type Type int

// The types of columns, and the Go types of their values. A value of any type can
// be nil, which is NULL.
const (
	NVarChar         Type = iota // string
	Int                          // int, int32 or int64; the same for BigInt
	BigInt                       //
	Bit                          // bool
	Float                        // float64
	Decimal                      // string, such as "-12.50"; decimal(38, Column.Scale)
	VarBinary                    // []byte
	DateTime2                    // time.Time, sent in UTC, to 100 ns
	UniqueIdentifier             // string, such as "01234567-89AB-CDEF-0123-456789ABCDEF"
)

// Column is a column of a Result.
type Column struct {
	Name  string
	Type  Type
	Scale int // digits of a Decimal after the point, at most 38
}

// Result is the answer to a query: rows, or the number of rows changed.
type Result struct {
	Columns      []Column // none: there are no rows
	Rows         [][]any  // each with as many values as there are Columns
	RowsAffected int64    // used without Columns
}

// Error is an error that the server reports, as SQL Server would. If a handler
// returns an error of another type, it is reported with the number 50000.
type Error struct {
	Number  int32
	State   byte
	Class   byte // severity; 0 means 16
	Message string
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// tokens returns the result as a token stream without its end.
func (r *Result) tokens() ([]byte, error) {
	if len(r.Columns) == 0 {
		return nil, nil
	}
	b := []byte{tokenColMetadata}
	b = binary.LittleEndian.AppendUint16(b, uint16(len(r.Columns)))
	for _, c := range r.Columns {
		b = append(b, 0, 0, 0, 0, 0x09, 0) // user type; flags: nullable, updatable
		b = c.appendTypeInfo(b)
		b = appendText8(b, c.Name)
	}
	for i, row := range r.Rows {
		if len(row) != len(r.Columns) {
			return nil, fmt.Errorf("row %d has %d values for %d columns", i, len(row), len(r.Columns))
		}
		b = append(b, tokenRow)
		for k, v := range row {
			var err error
			if b, err = r.Columns[k].appendValue(b, v); err != nil {
				return nil, fmt.Errorf("row %d, column %q: %w", i, r.Columns[k].Name, err)
			}
		}
	}
	return b, nil
}

func (c Column) appendTypeInfo(b []byte) []byte {
	switch c.Type {
	case Int:
		return append(b, tokIntN, 4)
	case BigInt:
		return append(b, tokIntN, 8)
	case Bit:
		return append(b, tokBitN, 1)
	case Float:
		return append(b, tokFloatN, 8)
	case Decimal:
		return append(b, tokDecimalN, 17, 38, byte(c.Scale))
	case VarBinary:
		return append(b, tokVarBinary, 0xff, 0xff)
	case DateTime2:
		return append(b, tokDateTime2N, 7)
	case UniqueIdentifier:
		return append(b, tokGUID, 16)
	}
	return append(b, tokNVarChar, 0xff, 0xff, 0x09, 0x04, 0xd0, 0x00, 0x34) // Latin1_General_CI_AS
}

func (c Column) appendValue(b []byte, v any) ([]byte, error) {
	long := c.Type == NVarChar || c.Type == VarBinary
	if v == nil {
		if long {
			return appendUint(b, math.MaxUint64, 8), nil
		}
		return append(b, 0), nil
	}
	switch v := v.(type) {
	case int:
		return c.appendInt(b, int64(v))
	case int32:
		return c.appendInt(b, int64(v))
	case int64:
		return c.appendInt(b, v)
	case bool:
		if c.Type == Bit {
			bit := byte(0)
			if v {
				bit = 1
			}
			return append(b, 1, bit), nil
		}
	case float64:
		if c.Type == Float {
			return appendUint(append(b, 8), math.Float64bits(v), 8), nil
		}
	case []byte:
		if c.Type == VarBinary {
			return appendParts(b, v), nil
		}
	case time.Time:
		if c.Type == DateTime2 {
			return appendDateTime2(b, v), nil
		}
	case string:
		switch c.Type {
		case NVarChar:
			return appendParts(b, ucs2(v)), nil
		case Decimal:
			return appendDecimal(b, v, c.Scale)
		case UniqueIdentifier:
			return appendGUID(b, v)
		}
	}
	return nil, fmt.Errorf("a %T does not go there", v)
}

func (c Column) appendInt(b []byte, v int64) ([]byte, error) {
	switch {
	case c.Type == BigInt:
		return appendUint(append(b, 8), uint64(v), 8), nil
	case c.Type == Int && v == int64(int32(v)):
		return appendUint(append(b, 4), uint64(v), 4), nil
	}
	return nil, fmt.Errorf("%d does not go there", v)
}

// appendParts appends a value that comes in parts (PLP), as one.
func appendParts(b, v []byte) []byte {
	b = appendUint(b, uint64(len(v)), 8)
	if len(v) > 0 {
		b = append(appendUint(b, uint64(len(v)), 4), v...)
	}
	return appendUint(b, 0, 4)
}

func appendDecimal(b []byte, s string, scale int) ([]byte, error) {
	v, ok := new(big.Rat).SetString(s)
	if !ok || scale < 0 || scale > 38 {
		return nil, fmt.Errorf("%q is not a decimal with %d digits behind the point", s, scale)
	}
	v.Mul(v, new(big.Rat).SetInt(pow10(byte(scale))))
	if !v.IsInt() || v.Num().BitLen() > 126 {
		return nil, fmt.Errorf("%q is too long for a decimal(38, %d)", s, scale)
	}
	sign := byte(1)
	if v.Sign() < 0 {
		sign = 0
	}
	digits := v.Num().FillBytes(make([]byte, 16)) // the highest first
	b = append(b, 17, sign)
	for i := range digits {
		b = append(b, digits[15-i])
	}
	return b, nil
}

func appendGUID(b []byte, s string) ([]byte, error) {
	g, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(g) != 16 {
		return nil, fmt.Errorf("%q is not a uniqueidentifier", s)
	}
	b = append(b, 16, g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6])
	return append(b, g[8:]...), nil
}
