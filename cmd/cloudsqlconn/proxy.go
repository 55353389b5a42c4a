package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
)

func (p *program) proxy(fs *flag.FlagSet) func(context.Context, []string) int {
	listen := fs.String("listen", "", "`address` to listen on, host:port or the path of a unix socket (default the engine's own port on 127.0.0.1)")
	remote := fs.Bool("allow-remote", false, "allow an address that other machines can reach; everyone who reaches it connects as you")
	most := fs.Int("max-connections", 0, "`number` of connections that may be open at once (default no limit)")
	drain := fs.Duration("drain", 30*time.Second, "how long open connections have to end when the program is stopped")
	opts := dialerFlags(fs)
	return func(ctx context.Context, args []string) int {
		if len(args) != 1 {
			fmt.Fprintf(p.stderr, "cloudsqlconn proxy: want one instance, after the flags; got %d arguments\n", len(args))
			return exitUsage
		}
		serve := []cloudsqlconn.ServeOption{cloudsqlconn.WithDrainTimeout(*drain)}
		if *most != 0 {
			serve = append(serve, cloudsqlconn.WithMaxConnections(*most))
		}
		if err := p.serve(ctx, args[0], *listen, *remote, append(opts(), p.options...), serve); err != nil {
			fmt.Fprintln(p.stderr, err)
			if hint := cloudsqlconn.Hint(err); hint != "" {
				fmt.Fprintln(p.stderr, hint)
			}
			return exitFailed
		}
		return exitOK
	}
}

// serve leads connections to an instance until ctx ends.
func (p *program) serve(ctx context.Context, instance, address string, remote bool, opts []cloudsqlconn.Option, serve []cloudsqlconn.ServeOption) error {
	d, err := cloudsqlconn.NewDialer(ctx, opts...)
	if err != nil {
		return err
	}
	defer d.Close()
	engine, err := engineOf(ctx, d, instance)
	if err != nil {
		return err
	}
	l, err := listenAt(address, engine, remote)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stderr, "%s (%s): listening on %s\n", instance, engine, l.Addr())
	return d.Serve(ctx, l, instance, serve...)
}

// engineOf asks for the engine, and so finds out what is wrong with the instance,
// or the credentials. SQL Data does not tell it, and serves PostgreSQL.
func engineOf(ctx context.Context, d *cloudsqlconn.Dialer, instance string) (string, error) {
	if d.SQLDataMode() == cloudsqlconn.SQLDataNever {
		return d.EngineVersion(ctx, instance)
	}
	c, err := d.Dial(ctx, instance)
	if err != nil {
		return "", err
	}
	return "PostgreSQL", c.Close()
}

// listenAt opens a listener at address, or at the engine's own port.
func listenAt(address, engine string, remote bool) (net.Listener, error) {
	if strings.HasPrefix(address, "/") || strings.HasPrefix(address, "./") {
		return listenUnix(address)
	}
	if address == "" {
		address = "127.0.0.1:" + enginePort(engine)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("-listen: want host:port, or the path of a socket: %w", err)
	}
	if ip := net.ParseIP(host); !remote && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("-listen: other machines can reach %s, and whoever connects is in as you; want an address such as 127.0.0.1:%s, or -allow-remote", address, enginePort(engine))
	}
	return net.Listen("tcp", address)
}

// listenUnix opens a socket that only this user can open.
func listenUnix(path string) (net.Listener, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

func enginePort(engine string) string {
	switch {
	case strings.HasPrefix(engine, "MYSQL"):
		return "3306"
	case strings.HasPrefix(engine, "SQLSERVER"):
		return "1433"
	}
	return "5432"
}
