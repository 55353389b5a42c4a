// Command size prints how large a minimal program is that uses the library, as it
// is in some commits and in this folder. Run it in the folder bench:
//
//	go run -C bench ./cmd/size 729aa96
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/cloudsqlconn/cloudsqlconn/bench"
)

func main() {
	flag.Usage = func() { fmt.Fprintln(flag.CommandLine.Output(), "usage: size [commit...]") }
	flag.Parse()
	for _, commit := range append(flag.Args(), "") {
		sizes, err := bench.StrippedSizes(context.Background(), commit)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if commit == "" {
			commit = "this folder"
		}
		fmt.Printf("%-12s %d B", commit, sizes[0])
		if sizes[1] > 0 {
			fmt.Printf(", with WithSQLData %d B", sizes[1])
		}
		fmt.Println()
	}
}
