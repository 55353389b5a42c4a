package cloudsqltest

import (
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/mdx"
)

// MetadataExchange is what an instance does with the metadata exchange, in which
// clients tell it about themselves before their first byte.
type MetadataExchange int

// The kinds of instance. All but the first say in their metadata that they
// support the exchange. They wait for a request for 250 ms after the TLS
// handshake, unless the client begins with something else, and then turn to the
// database; a request that comes later gets no answer.
//
// MySQL clients wait for the server, and send their request right before their
// login, which is later: they get no answer, and to them RefuseMetadata and
// OversizedMetadataResponse are like AcceptMetadataSilently. A client meets these
// two if it sends its request at once.
const (
	NoMetadataExchange        MetadataExchange = iota // does not support it
	AcceptMetadata                                    // answers OK
	AcceptMetadataBytewise                            // answers OK, each byte in a TLS record of its own
	AcceptMetadataSilently                            // does not answer
	GreetFirst                                        // turns to the database at once, as if every request were late
	RefuseMetadata                                    // answers ERROR, with RefusedMetadata, and ends the connection
	OversizedMetadataResponse                         // answers with a length above 16 KiB, and ends the connection
)

// RefusedMetadata is the message of an instance with RefuseMetadata.
const RefusedMetadata = "the client protocol type is not allowed"

// String returns the name of the constant.
func (m MetadataExchange) String() string {
	return constant(m,
		"NoMetadataExchange", "AcceptMetadata", "AcceptMetadataBytewise", "AcceptMetadataSilently",
		"GreetFirst", "RefuseMetadata", "OversizedMetadataResponse")
}

// protocolSupport is the instance's mdxProtocolSupport.
func (m MetadataExchange) protocolSupport() []string {
	if m == NoMetadataExchange {
		return nil
	}
	return []string{"CLIENT_PROTOCOL_TYPE"}
}

// ClientMetadata is what a client has sent in a metadata exchange.
type ClientMetadata struct {
	ClientProtocolType string // TCP, TLS, UDS or UNSPECIFIED
	UserAgent          string
}

// MetadataExchanges returns what clients have sent, in order of arrival.
func (p *EmulatedInstance) MetadataExchanges() []ClientMetadata {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]ClientMetadata(nil), p.told...)
}

// exchangeTime is how long the request of a metadata exchange is waited for.
const exchangeTime = 250 * time.Millisecond

// exchangeMetadata reports whether the connection may go on.
func (p *EmulatedInstance) exchangeMetadata(c *Conn) bool {
	mode := p.cfg.MetadataExchange
	if mode == NoMetadataExchange {
		return true
	}
	c.exchange = mdx.NewServer(c.Conn, func(r mdx.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.told = keep(p.told, ClientMetadata{r.ClientProtocolType.String(), r.UserAgent}, p.server.MaxRequests)
	})
	if mode == GreetFirst {
		return true
	}
	r, err := c.exchange.Await(exchangeTime)
	if r == nil || err != nil {
		return err == nil
	}
	ok := mdx.Response{Status: mdx.OK}.Append(nil)
	switch mode {
	case AcceptMetadata:
		_, err = c.Write(ok)
	case AcceptMetadataBytewise:
		for i := range ok {
			_, err = c.Write(ok[i : i+1])
		}
	case RefuseMetadata:
		_, _ = c.Write(mdx.Response{Status: mdx.Refused, Message: RefusedMetadata}.Append(nil))
		return false
	case OversizedMetadataResponse:
		_, _ = c.Write(mdx.AppendOversized(nil))
		return false
	}
	return err == nil
}
