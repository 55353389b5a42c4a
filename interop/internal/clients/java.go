package clients

import (
	_ "embed"
	"errors"
	"os/exec"
	"path/filepath"
	"sync"
)

var (
	//go:embed java/Client.java
	javaProgram []byte
	//go:embed java/pom.xml
	javaProject []byte
)

// JavaClasses builds java/ with Maven and returns the class path of the program
// and of what it depends on.
var JavaClasses = sync.OnceValues(func() (string, error) {
	for _, program := range []string{"javac", "mvn"} {
		if err := lookPath(program, "default-jdk-headless maven"); err != nil {
			return "", err
		}
	}
	dir, err := cached(versioned("java", javaProject, javaProgram), func(dir string) error {
		return errors.Join(
			writeFiles(dir, map[string][]byte{"pom.xml": javaProject, "Client.java": javaProgram}),
			run(dir, nil, "mvn", "--quiet", "--batch-mode", "compiler:compile", "dependency:copy-dependencies"),
		)
	})
	target := filepath.Join(dir, "target")
	return filepath.Join(target, "classes") + ":" + filepath.Join(target, "dependency", "*"), err
})

// javaCommand runs Client, which has all drivers in one process.
func javaCommand() (*exec.Cmd, error) {
	path, err := JavaClasses()
	if err != nil {
		return nil, err
	}
	return exec.Command("java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", path, "Client"), nil
}

// StartJava starts a program of Java alone.
func StartJava() (*Peer, error) {
	cmd, err := javaCommand()
	if err != nil {
		return nil, err
	}
	return startPeer(cmd)
}
