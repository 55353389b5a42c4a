package bench

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn/bench/internal/client"
)

// clientPath is where the package client is in the module, its program below.
const clientPath = "internal/client"

// buildClient builds the program of internal/client. module is the folder of
// this module, or of its like in another version of the repository.
func buildClient(ctx context.Context, module, program string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", program, "./"+clientPath+"/program")
	cmd.Dir = module
	return output(cmd)
}

// commitOf returns the hash of the commit that ref names.
func commitOf(ctx context.Context, ref string) (string, error) {
	hash, err := exec.CommandContext(ctx, "git", "rev-parse", "--short", "--verify", "--end-of-options", ref+"^{commit}").Output()
	if err != nil {
		return "", fmt.Errorf("no commit has the name %q: %w", ref, err)
	}
	return strings.TrimSpace(string(hash)), nil
}

// filesOf puts the files of a commit into dir.
func filesOf(ctx context.Context, commit, dir string) error {
	files := filepath.Join(dir, "files.tar")
	for _, cmd := range []*exec.Cmd{
		exec.CommandContext(ctx, "git", "-C", "..", "archive", "--output="+files, commit),
		exec.CommandContext(ctx, "tar", "-xf", files, "-C", dir),
	} {
		if err := output(cmd); err != nil {
			return err
		}
	}
	return nil
}

// buildClientAt builds the same program with the library as it is in a commit.
// dir is for the files of the commit. A program cannot have two versions of a
// module, hence this.
func buildClientAt(ctx context.Context, commit, dir, program string) error {
	if err := filesOf(ctx, commit, dir); err != nil {
		return err
	}
	module := filepath.Join(dir, "bench")
	theirs := filepath.Join(module, clientPath)
	if err := errors.Join(os.RemoveAll(theirs), os.CopyFS(theirs, os.DirFS(clientPath))); err != nil {
		return err
	}
	return buildClient(ctx, module, program)
}

// output runs cmd. Its error tells what cmd has written.
func output(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
	}
	return nil
}

// clientOf is a subject in a process of its own, which ends with the pipe to its
// standard input, hence with this process.
type clientOf struct {
	name    string
	cmd     *exec.Cmd
	in      io.Closer
	tasks   *json.Encoder
	results *json.Decoder
}

func startClient(name, program string, cfg client.Config) (*clientOf, error) {
	cmd := exec.Command(program)
	cmd.Stderr = os.Stderr
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
	c := &clientOf{name, cmd, in, json.NewEncoder(in), json.NewDecoder(out)}
	if err := c.tasks.Encode(cfg); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *clientOf) Name() string { return c.name }

func (c *clientOf) close() error { return errors.Join(c.in.Close(), c.cmd.Wait()) }

// do returns what a Dial has cost, also if a Dial of the task has failed: err
// is a *taskError then.
func (c *clientOf) do(t client.Task) (cost, error) {
	var r client.Result
	if err := errors.Join(c.tasks.Encode(t), c.results.Decode(&r)); err != nil {
		return cost{}, fmt.Errorf("%s: %w", c.name, err)
	}
	spent := cost{r.Wall, r.CPU, r.Allocs, r.Bytes}
	if r.Failed != "" {
		return spent, &taskError{c.name, r.Failed}
	}
	return spent, nil
}

// taskError is the error of a Dial in another process.
type taskError struct{ name, text string }

func (e *taskError) Error() string { return e.name + ": " + e.text }

// config is how a client reaches t.
func (t target) config(key *rsa.PrivateKey) client.Config {
	return client.Config{URL: t.URL, Token: t.Token, Instance: t.Instance, Addrs: t.Addrs, Key: x509.MarshalPKCS1PrivateKey(key)}
}
