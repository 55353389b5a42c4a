package memnet

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestTLSEchoes1MiB(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cert, roots := selfSigned(t, "db.example")
		a, b := Pair(addrA, addrB)
		server := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{cert}})
		client := tls.Client(a, &tls.Config{RootCAs: roots, ServerName: "db.example"})

		go func() {
			defer server.Close()
			if _, err := io.Copy(server, server); err != nil {
				t.Error(err)
			}
		}()
		data := make([]byte, 1<<20)
		rand.Read(data)
		go func() {
			client.Write(data)
			client.CloseWrite()
		}()
		got, err := io.ReadAll(client)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("read %d bytes, equal %t: %v", len(got), bytes.Equal(got, data), err)
		}
		wantNil(t, client.Close())
	})
}

func selfSigned(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	wantNil(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{name},
		NotBefore:    time.Now(),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(nil, template, template, public, private)
	wantNil(t, err)
	leaf, err := x509.ParseCertificate(der)
	wantNil(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, roots
}

func TestHTTPKeepsAConnectionThroughAnIdleHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := Listen(addrB.String())
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.RemoteAddr)
		})}
		go server.Serve(l)
		transport := &http.Transport{DialContext: l.DialContext}
		client := &http.Client{Transport: transport}

		get := func() string {
			resp, err := client.Get("http://db.example/")
			wantNil(t, err)
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			wantNil(t, err)
			return string(body)
		}
		first := get()
		time.Sleep(time.Hour)
		if second := get(); second != first {
			t.Errorf("second request came from %s, want %s", second, first)
		}

		// The server closes in good order, which it does only to idle connections.
		wantNil(t, server.Shutdown(t.Context()))
		if _, err := client.Get("http://db.example/"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("request after Shutdown failed with %v, want ECONNREFUSED", err)
		}
	})
}
