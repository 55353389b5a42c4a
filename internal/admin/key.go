package admin

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"sync"
)

// ProcessKey returns the RSA key of 2048 bits that all clients of the process
// share. The first call makes it, which takes 100 ms and more; the others wait
// for that.
//
// RSA, since every connector sends RSA and nothing says that the API accepts
// another kind.
var ProcessKey = sync.OnceValues(func() (crypto.Signer, error) {
	return rsa.GenerateKey(rand.Reader, 2048)
})
