package interop

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// nodeModules installs the npm packages of node/package-lock.json and returns
// the folder that has them.
var nodeModules = sync.OnceValues(func() (string, error) {
	for _, program := range []string{"node", "npm"} {
		if err := lookPath(program, "npm"); err != nil {
			return "", err
		}
	}
	lock, err := os.ReadFile("node/package-lock.json")
	if err != nil {
		return "", err
	}
	pkg, err := os.ReadFile("node/package.json")
	if err != nil {
		return "", err
	}
	dir, err := cached(fmt.Sprintf("node-%x", sha256.Sum256(lock))[:21], func(dir string) error {
		if err := errors.Join(
			os.WriteFile(filepath.Join(dir, "package-lock.json"), lock, 0o644),
			os.WriteFile(filepath.Join(dir, "package.json"), pkg, 0o644),
		); err != nil {
			return err
		}
		return run(dir, nil, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")
	})
	return filepath.Join(dir, "node_modules"), err
})

// startNode starts node/client.mjs, which connects once for each line that it
// reads.
func startNode(t *testing.T, w *world) session {
	t.Helper()
	modules, err := nodeModules()
	wantInstalled(t, err)
	// A program finds its packages beside itself.
	dir := t.TempDir()
	script, err := os.ReadFile("node/client.mjs")
	wantNil(t, err)
	wantNil(t, os.WriteFile(filepath.Join(dir, "client.mjs"), script, 0o644))
	wantNil(t, os.Symlink(modules, filepath.Join(dir, "node_modules")))
	config, err := json.Marshal(map[string]any{
		"driver":   map[*engine]string{postgresEngine: "pg", mysqlEngine: "mysql2"}[w.engine],
		"endpoint": w.kit.URL(),
		"instance": instanceName,
		"iam":      w.iam,
		"private":  w.private,
		"sqlData":  w.sqlDataAddr(),
		"user":     w.user(),
		"password": w.password(),
		"database": database,
	})
	wantNil(t, err)
	cmd := exec.Command("node", filepath.Join(dir, "client.mjs"), string(config))
	cmd.Env = append(os.Environ(),
		"GOOGLE_APPLICATION_CREDENTIALS="+w.credentials,
		"GOOGLE_CLOUD_PROJECT=my-project", // otherwise it asks cloudresourcemanager.googleapis.com
		"METADATA_SERVER_DETECTION=none",  // there is none to ask
		"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH="+w.sqlDataCA)
	p := start(t, cmd)
	return func(ctx context.Context) (string, error) {
		if _, err := fmt.Fprintln(p.stdin); err != nil {
			return "", fmt.Errorf("%w: %s", err, &p.log)
		}
		line, err := p.line(ctx)
		if err != nil {
			return "", err
		}
		var answer struct{ User, Error string }
		if err := json.Unmarshal([]byte(line), &answer); err != nil {
			return "", fmt.Errorf("%w: %s", err, line)
		}
		if answer.Error != "" {
			return "", errors.New(answer.Error)
		}
		return answer.User, nil
	}
}
