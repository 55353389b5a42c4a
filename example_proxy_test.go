package cloudsqlconn_test

import (
	"context"
	"fmt"
	"log"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// The instance has a private address only, and this machine reaches its network
// through a SOCKS proxy, such as `ssh -D 1080 bastion.example.com` opens one.
func ExampleWithProxy() {
	ctx := context.Background()
	dialer, err := cloudsqlconn.NewDialer(ctx, cloudsqlconn.WithPrivateIP(), cloudsqlconn.WithProxy("socks5://127.0.0.1:1080"))
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()
	conn, err := dialer.Dial(ctx, "my-project:europe-west1:my-db")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
}

// What is wrong with a proxy's URL is told without what is secret in it.
func ExampleWithProxy_wrong() {
	_, err := cloudsqlconn.NewDialer(context.Background(), cloudsqlconn.WithProxy("socks4://me:secret@proxy.example.com"))
	fmt.Println(err)
	// Output: cloudsqlconn: configure: WithProxy: unknown scheme "socks4": want a URL such as socks5://proxy.example.com:1080 or https://user:password@proxy.example.com, with / ? # @ in the password percent-encoded
}

// ALL_PROXY=http://proxy.example.com:3128 NO_PROXY=10.0.0.0/8 count only in a
// program that asks for them.
func ExampleWithProxyFromEnvironment() {
	dialer, err := cloudsqlconn.NewDialer(context.Background(), cloudsqlconn.WithProxyFromEnvironment())
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()
}
