package cloudsqlconn_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// A Dialer that is wired to an emulated instance which echoes; without
// server.Options it is the same program that talks to Cloud SQL.
func ExampleDialer_Dial() {
	server := cloudsqltest.NewServer()
	defer server.Close()
	server.AddInstance("my-project:europe-west1:my-db", cloudsqltest.Instance{})

	ctx := context.Background()
	dialer, err := cloudsqlconn.NewDialer(ctx, server.Options()...)
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()

	conn, err := dialer.Dial(ctx, "my-project:europe-west1:my-db")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "hello")
	reply := make([]byte, 5)
	_, _ = io.ReadFull(conn, reply)
	fmt.Println(string(reply))
	// Output: hello
}

// The name of an instance in DNS: a TXT record with its connection name. When
// the record names another instance, the next Dial goes there, and open
// connections to the old one are closed within the failover period.
func ExampleWithDNSResolver() {
	server := cloudsqltest.NewServer()
	defer server.Close()
	server.AddInstance("my-project:europe-west1:blue", cloudsqltest.Instance{})
	server.AddInstance("my-project:europe-west1:green", cloudsqltest.Instance{})
	dns := cloudsqltest.NewDNS() // in production: net.DefaultResolver
	dns.SetTXT("db.example.com", "my-project:europe-west1:blue")

	ctx := context.Background()
	dialer, err := cloudsqlconn.NewDialer(ctx, append(server.Options(),
		cloudsqlconn.WithDNSResolver(dns),
		cloudsqlconn.WithFailoverPeriod(10*time.Second),
	)...)
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()

	for range 2 {
		conn, err := dialer.Dial(ctx, "db.example.com")
		if err != nil {
			log.Fatal(err)
		}
		_ = conn.Close()
		dns.SetTXT("db.example.com", "my-project:europe-west1:green")
	}
	for _, status := range dialer.Instances() {
		fmt.Println(status.Name)
	}
	// Output:
	// my-project:europe-west1:blue
	// my-project:europe-west1:green
}

// An order of preference for addresses, here from a program's configuration.
func ExampleWithIPTypes() {
	types, err := cloudsqlconn.ParseIPTypes("PRIVATE,PSC")
	if err != nil {
		log.Fatal(err)
	}
	dialer, err := cloudsqlconn.NewDialer(context.Background(), cloudsqlconn.WithIPTypes(types...))
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()
	fmt.Println(types)
	// Output: [PRIVATE PSC]
}

// Where the CPU stops between requests, certificates are refreshed by the Dial
// that finds them due.
func ExampleWithLazyRefresh() {
	dialer, err := cloudsqlconn.NewDialer(context.Background(), cloudsqlconn.WithLazyRefresh())
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()
}

// TCP connections of the program's own making: from a given local address, say.
func ExampleWithDialFunc() {
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7)}}
	dialer, err := cloudsqlconn.NewDialer(context.Background(), cloudsqlconn.WithDialFunc(from.DialContext))
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()
}

// The database user of an IAM principal.
func ExampleFormatIAMUser() {
	fmt.Println(cloudsqlconn.FormatIAMUser("POSTGRES_17", "app@my-project.iam.gserviceaccount.com"))
	fmt.Println(cloudsqlconn.FormatIAMUser("POSTGRES_17", "me@example.com"))
	fmt.Println(cloudsqlconn.FormatIAMUser("MYSQL_8_4", "me@example.com"))
	// Output:
	// app@my-project.iam
	// me@example.com
	// me
}
