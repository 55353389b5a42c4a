package clients

import "regexp"

// NodeVersion is the version of the client for Node.js.
func NodeVersion() string { return find(nodePackage, `cloud-sql-connector": "([^"]+)`) }

// PythonVersion is the version of the client for Python.
func PythonVersion() string {
	return find(pythonRequirements, `cloud-sql-python-connector==(\S+)`)
}

// JavaVersion is the version of the client for JDBC.
func JavaVersion() string {
	return find(javaProject, `<artifactId>postgres-socket-factory</artifactId>\s*<version>([^<]+)`)
}

// find returns what a pattern has found.
func find(text []byte, pattern string) string {
	if m := regexp.MustCompile(pattern).FindSubmatch(text); m != nil {
		return string(m[1])
	}
	panic("clients: not found: " + pattern)
}
