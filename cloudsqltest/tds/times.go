package tds

import (
	"encoding/binary"
	"math"
	"time"
)

var (
	year1    = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	year1900 = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)
)

// step is how long one step of a time with this many digits behind the seconds
// is.
func step(scale byte) time.Duration { return time.Second / time.Duration(math.Pow10(int(scale))) }

// timeSize is how many bytes such a time takes, [MS-TDS] 2.2.5.5.1.8.
func timeSize(scale byte) int {
	switch {
	case scale <= 2:
		return 3
	case scale <= 4:
		return 4
	}
	return 5
}

// decodeTime returns the name of a date and time type, and what b is as its
// value.
func decodeTime(t typeInfo, b []byte) (name string, v any, ok bool) {
	r := reader{data: b}
	switch t.tok {
	case tokDateN:
		return "date", date(r.uint(3)), len(b) == 3
	case tokTimeN:
		return "time", year1.Add(clock(&r, t.scale)), len(b) == timeSize(t.scale)
	case tokDateTime2N:
		of := clock(&r, t.scale)
		return "datetime2", date(r.uint(3)).Add(of), len(b) == timeSize(t.scale)+3
	case tokDateTimeOffset:
		of := clock(&r, t.scale)
		day := date(r.uint(3))
		zone := time.FixedZone("", 60*int(int16(r.uint16())))
		return "datetimeoffset", day.Add(of).In(zone), len(b) == timeSize(t.scale)+5
	}
	if len(b) == 4 {
		day := year1900.AddDate(0, 0, int(r.uint16()))
		return "smalldatetime", day.Add(time.Duration(r.uint16()) * time.Minute), true
	}
	day := year1900.AddDate(0, 0, int(int32(r.uint32())))
	return "datetime", day.Add(time.Duration(r.uint32()) * time.Second / 300), len(b) == 8
}

// date counts days from the year 1.
func date(days uint64) time.Time { return year1.AddDate(0, 0, int(days)) }

// clock reads a time of day.
func clock(r *reader, scale byte) time.Duration {
	return time.Duration(r.uint(timeSize(scale))) * step(scale)
}

// appendDateTime2 appends a datetime2(7), in UTC.
func appendDateTime2(b []byte, t time.Time) []byte {
	t = t.UTC()
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	b = append(b, byte(timeSize(7)+3))
	b = appendUint(b, uint64(t.Sub(day)/step(7)), timeSize(7))
	return appendUint(b, uint64((day.Unix()-year1.Unix())/86400), 3)
}

// appendUint appends the lowest bytes of v, the lowest first.
func appendUint(b []byte, v uint64, size int) []byte {
	var all [8]byte
	binary.LittleEndian.PutUint64(all[:], v)
	return append(b, all[:size]...)
}
