module github.com/cloudsqlconn/cloudsqlconn

go 1.26.0
