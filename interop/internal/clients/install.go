package clients

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// lookPath returns an error that says how to get a program that is missing.
func lookPath(program, packages string) error {
	if _, err := exec.LookPath(program); err != nil {
		return fmt.Errorf("%w: apt-get install %s", err, packages)
	}
	return nil
}

// versioned is a name that is different for other contents.
func versioned(name string, contents ...[]byte) string {
	hash := sha256.New()
	for _, c := range contents {
		_, _ = hash.Write(c)
	}
	return fmt.Sprintf("%s-%x", name, hash.Sum(nil)[:8])
}

// cached returns a folder that outlives the process. If there is none of that
// name yet, fill makes what belongs into it.
func cached(name string, fill func(dir string) error) (string, error) {
	parent, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	parent = filepath.Join(parent, "cloudsqlconn-interop")
	dir := filepath.Join(parent, name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	unfinished, err := os.MkdirTemp(parent, "unfinished-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(unfinished)
	if err := fill(unfinished); err != nil {
		return "", err
	}
	// Another process may have been quicker; what it made is as good.
	if err := os.Rename(unfinished, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return dir, nil
}

// writeFiles writes files into dir.
func writeFiles(dir string, files map[string][]byte) error {
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// run runs a program in dir to its end; what it printed is in the error.
func run(dir string, env []string, program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, out)
	}
	return nil
}
