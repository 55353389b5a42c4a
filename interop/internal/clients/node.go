package clients

import (
	"context"
	_ "embed"
	"errors"
	"os"
	"os/exec"
	"sync"
)

var (
	//go:embed node/client.mjs
	nodeProgram string
	//go:embed node/package.json
	nodePackage []byte
	//go:embed node/package-lock.json
	nodeLock []byte
)

// nodeFolder installs the npm packages of node/package-lock.json and returns the
// folder that has them.
var nodeFolder = sync.OnceValues(func() (string, error) {
	for _, program := range []string{"node", "npm"} {
		if err := lookPath(program, "npm"); err != nil {
			return "", err
		}
	}
	return cached(versioned("node", nodeLock), func(dir string) error {
		return errors.Join(
			writeFiles(dir, map[string][]byte{"package-lock.json": nodeLock, "package.json": nodePackage}),
			run(dir, nil, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"),
		)
	})
})

// Node returns how the client for Node.js is opened, in a process of its own,
// with one of its drivers: pg, mysql2.
func Node(driver string) Open {
	return func(_ context.Context, target Target) (*Session, error) {
		peer, err := StartNode(target.SQLDataCA)
		if err != nil {
			return nil, err
		}
		return peer.session(Request{Driver: driver, Target: target}, true), nil
	}
}

// StartNode starts a program of Node.js alone, which trusts SQL Data with the CA
// in a file, if that is not empty.
func StartNode(sqlDataCA string) (*Peer, error) {
	dir, err := nodeFolder()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("node", "--input-type=module", "--eval", nodeProgram)
	cmd.Dir = dir // a program that is no file finds its packages there
	cmd.Env = append(os.Environ(),
		"GOOGLE_CLOUD_PROJECT=my-project", // otherwise it asks cloudresourcemanager.googleapis.com
		"METADATA_SERVER_DETECTION=none",  // there is none to ask
		"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH="+sqlDataCA)
	return startPeer(cmd)
}
