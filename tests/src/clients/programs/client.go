// Looks a name up, or fetches an address into a file: `client lookup NAME`, `client fetch URL FILE`.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

func main() {
	var err error
	if os.Args[1] == "lookup" {
		err = lookup(os.Args[2])
	} else {
		err = fetch(os.Args[2], os.Args[3])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func lookup(name string) error {
	addresses, err := net.LookupHost(name)
	for _, address := range addresses {
		fmt.Println(address)
	}
	return err
}

func fetch(url string, file string) error {
	response, err := http.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, response.Body); err != nil {
		return err
	}
	return out.Close()
}
