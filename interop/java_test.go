package interop

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// classes builds java/ with Maven and returns the class path of the program and
// of what it depends on.
var classes = sync.OnceValues(func() (string, error) {
	for _, program := range []string{"javac", "mvn"} {
		if err := lookPath(program, "default-jdk-headless maven"); err != nil {
			return "", err
		}
	}
	pom, err := os.ReadFile("java/pom.xml")
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile("java/Client.java")
	if err != nil {
		return "", err
	}
	hash := sha256.Sum256(append(pom, source...))
	dir, err := cached(fmt.Sprintf("java-%x", hash)[:21], func(dir string) error {
		if err := errors.Join(
			os.WriteFile(filepath.Join(dir, "pom.xml"), pom, 0o644),
			os.WriteFile(filepath.Join(dir, "Client.java"), source, 0o644),
		); err != nil {
			return err
		}
		return run(dir, nil, "mvn", "--quiet", "--batch-mode", "compiler:compile", "dependency:copy-dependencies")
	})
	target := filepath.Join(dir, "target")
	return filepath.Join(target, "classes") + ":" + filepath.Join(target, "dependency", "*"), err
})

// java runs Client with all drivers in one process.
var java = &helper{command: func() (*exec.Cmd, error) {
	path, err := classes()
	if err != nil {
		return nil, err
	}
	return exec.Command("java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", path, "Client"), nil
}}
