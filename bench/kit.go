package bench

import (
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"time"
)

// roleVar is the environment variable that tells a child process what it is.
const roleVar = "CLOUDSQLCONN_BENCH_ROLE"

const (
	roleKit     = "kit"
	roleCold    = "cold"
	roleSQLData = "sqldata"
	rolePort    = "port"
)

// Main has to be called first in every program and test of this module: if the
// process is a child of another one, it does its work there and does not
// return.
func Main() {
	var err error
	switch os.Getenv(roleVar) {
	case "":
		return
	case roleKit:
		err = serveKit(os.Stdin, os.Stdout)
	case roleCold:
		err = coldChild(os.Stdin, os.Stdout)
	case roleSQLData:
		err = serveCalls("SQLData", new(SQLDataClient), os.Stdin, os.Stdout)
	case rolePort:
		err = serveCalls("Port", new(PortServer), os.Stdin, os.Stdout)
	default:
		err = errors.New("unknown role")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child is a command that runs this program as a child in that role.
func child(role string) (*exec.Cmd, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	cmd.Stderr = os.Stderr
	return cmd, nil
}

// process is a child whose methods this one calls. It ends with the pipe to its
// standard input, hence with this process.
type process struct {
	cmd *exec.Cmd
	rpc *rpc.Client
}

type pipes struct {
	io.Reader
	io.WriteCloser
}

func startProcess(role string) (*process, error) {
	cmd, err := child(role)
	if err != nil {
		return nil, err
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &process{cmd, rpc.NewClient(pipes{out, in})}, nil
}

func (p *process) close() error { return errors.Join(p.rpc.Close(), p.cmd.Wait()) }

// serveCalls is what such a child does. It does not return unless it fails.
func serveCalls(name string, methods any, in io.Reader, out io.WriteCloser) error {
	server := rpc.NewServer()
	if err := server.RegisterName(name, methods); err != nil {
		return err
	}
	server.ServeConn(pipes{in, out}) // until the parent closes the pipe, or ends
	os.Exit(0)                       // thousands of connections need no farewell
	return nil
}

// kit is an emulated Cloud SQL in another process, so that what this one
// measures of itself is the client's alone.
type kit struct {
	KitInfo
	*process
}

func startKit() (*kit, error) {
	p, err := startProcess(roleKit)
	if err != nil {
		return nil, err
	}
	k := &kit{process: p}
	if err := k.rpc.Call("Kit.Info", struct{}{}, &k.KitInfo); err != nil {
		return nil, errors.Join(err, k.close())
	}
	return k, nil
}

// add adds instances that serve the commands of this package, or a database.
func (k *kit) add(spec InstanceSpec) (target, error) {
	t := target{URL: k.URL, Token: k.Token, Instance: spec.Names[0]}
	return t, k.rpc.Call("Kit.Add", spec, &t.Addrs)
}

// setAPI says how long the Admin API takes, and with what status it answers; 0
// means as it should.
func (k *kit) setAPI(delay time.Duration, status int) error {
	return k.rpc.Call("Kit.SetAPI", APISpec{delay, status}, &struct{}{})
}

// calls returns what the Admin API has seen since it was last asked.
func (k *kit) calls() (c APICalls, err error) {
	return c, k.rpc.Call("Kit.Calls", struct{}{}, &c)
}

// trust makes this process trust SecureURL. It has to be called before the
// process verifies a certificate.
func (k *kit) trust() (undo func(), err error) {
	f, err := os.CreateTemp("", "cloudsqlconn-bench-*.pem")
	if err != nil {
		return nil, err
	}
	_, err = f.Write(k.CA)
	err = errors.Join(err, f.Close(), os.Setenv("SSL_CERT_FILE", f.Name()))
	return func() { _ = os.Remove(f.Name()) }, err
}

// cut resets all connections to an instance: unlike those that the client
// closes they leave no port behind that waits.
func (k *kit) cut(instance string) error {
	return k.rpc.Call("Kit.Cut", instance, &struct{}{})
}
