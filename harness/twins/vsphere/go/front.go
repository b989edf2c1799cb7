package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// front stands before the simulator's web server: it keeps uploads, asks for a login where the simulator does not,
// repairs answers that a client could not read, and fails on demand.
type front struct {
	t     *twin
	inner http.Handler
	ready chan struct{}

	mu      sync.Mutex
	tickets map[string]bool
}

func newFront(t *twin) *front {
	return &front{t: t, ready: make(chan struct{}), tickets: map[string]bool{}}
}

func (f *front) open() { close(f.ready) }

func (f *front) remember(ticket string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tickets[ticket] = true
}

// ServeHTTP is every request.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	<-f.ready
	if f.fails(w, r) {
		return
	}
	switch {
	case strings.HasPrefix(r.URL.Path, "/nfc/"):
		f.nfc(w, r)
	case strings.HasPrefix(r.URL.Path, "/folder"):
		f.folder(w, r)
	case r.URL.Path == "/sdk" || strings.HasPrefix(r.URL.Path, "/sdk/"):
		f.sdk(w, r)
	case r.URL.Path == "/about" || strings.HasPrefix(r.URL.Path, "/rest/"), strings.HasPrefix(r.URL.Path, "/api/"),
		strings.HasPrefix(r.URL.Path, "/pbm"), strings.HasPrefix(r.URL.Path, "/lookupservice"):
		f.inner.ServeHTTP(w, r)
	default:
		http.NotFound(w, r)
	}
}

// fails does by plan what networks and servers do by themselves.
func (f *front) fails(w http.ResponseWriter, r *http.Request) bool {
	p := f.t.plan
	p.mu.Lock()
	latency, status, cut := p.rules.Latency, p.rules.Status, p.rules.Cut && p.rules.After == 0
	hit := p.rules.Count > 0 && strings.HasPrefix(r.URL.Path, p.rules.Path) && (status != 0 || cut)
	if hit {
		p.rules.Count--
	}
	p.mu.Unlock()
	if latency > 0 {
		time.Sleep(time.Duration(latency) * time.Millisecond)
	}
	if !hit {
		return false
	}
	if cut {
		sever(w)
		return true
	}
	http.Error(w, "planned by a test", status)
	return true
}

func sever(w http.ResponseWriter) {
	if hijacker, ok := w.(http.Hijacker); ok {
		if connection, _, err := hijacker.Hijack(); err == nil {
			_ = connection.Close()
		}
	}
}

// heldAnswer keeps an answer back, so that an empty one can be replaced.
type heldAnswer struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (h *heldAnswer) WriteHeader(status int)          { h.status = status }
func (h *heldAnswer) Write(bytes []byte) (int, error) { return h.body.Write(bytes) }

const longestCall = 16 << 20

var fetch = regexp.MustCompile(`<(\w+:)?Fetch[ >]`)

const emptyFetch = `<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>` +
	`<FetchResponse xmlns="urn:vim25"/></soapenv:Body></soapenv:Envelope>`

// sdk passes SOAP on. An unset property, read as pyvmomi reads attributes, would be answered by another method's answer.
func (f *front) sdk(w http.ResponseWriter, r *http.Request) {
	asked, err := io.ReadAll(http.MaxBytesReader(w, r.Body, longestCall))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(asked))
	held := &heldAnswer{ResponseWriter: w, status: http.StatusOK}
	f.inner.ServeHTTP(held, r)
	answer := held.body.Bytes()
	if held.status == http.StatusOK && fetch.Match(asked) && !bytes.Contains(answer, []byte("<FetchResponse")) {
		answer = []byte(emptyFetch)
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
	w.WriteHeader(held.status)
	_, _ = w.Write(answer) // header and body in one go: Nagle and delayed acknowledgement would cost 40 ms
}

// permitted asks for what a vCenter asks for: a session's cookie, a service ticket, or the account.
func (f *front) permitted(r *http.Request) bool {
	if user, password, ok := r.BasicAuth(); ok {
		return user == f.t.settings.User && password == f.t.settings.Password
	}
	for _, cookie := range r.Cookies() {
		value := strings.Trim(cookie.Value, `"`)
		switch cookie.Name {
		case soap.SessionCookieName:
			if f.session(value) {
				return true
			}
		case "vmware_cgi_ticket":
			f.mu.Lock()
			known := f.tickets[value]
			f.mu.Unlock()
			if known {
				return true
			}
		}
	}
	return false
}

func (f *front) session(key string) bool {
	manager := f.t.registry().SessionManager()
	request := &types.SessionIsActive{SessionID: key, UserName: f.t.settings.User}
	body, ok := manager.SessionIsActive(f.t.context(), request).(*methods.SessionIsActiveBody)
	return ok && body.Res != nil && body.Res.Returnval
}

// folder is the datastore over HTTP; the simulator gives it to everybody, and answers a DELETE without deleting.
func (f *front) folder(w http.ResponseWriter, r *http.Request) {
	if !f.permitted(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="VMware HTTP server"`)
		http.Error(w, "log in first", http.StatusUnauthorized)
		return
	}
	switch r.Method {
	case http.MethodPut, http.MethodPost:
		name := r.URL.Query().Get("dsName")
		if name != f.t.settings.Datastore {
			http.NotFound(w, r)
			return
		}
		if free := f.t.plan.freeSpace(); free >= 0 && r.ContentLength > free {
			http.Error(w, "no space left on the datastore", http.StatusInsufficientStorage)
			return
		}
		file := f.t.file("[" + name + "] " + strings.TrimPrefix(r.URL.Path, "/folder/"))
		if file == "" || file == f.t.datastoreDir {
			http.Error(w, "no such path", http.StatusBadRequest)
			return
		}
		f.receive(w, r, file, http.StatusCreated, nil)
	case http.MethodGet, http.MethodHead:
		f.inner.ServeHTTP(w, r)
	default:
		http.Error(w, "not here", http.StatusMethodNotAllowed)
	}
}

// nfc keeps the body of an upload, and lets the simulator count it.
func (f *front) nfc(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/nfc/"), "/")
	if len(parts) != 2 || (r.Method != http.MethodPut && r.Method != http.MethodPost) {
		f.inner.ServeHTTP(w, r)
		return
	}
	file := f.t.upload(parts[0], parts[1])
	if file == "" {
		http.NotFound(w, r)
		return
	}
	if free := f.t.plan.freeSpace(); free >= 0 && r.ContentLength > free {
		fault := &types.NoDiskSpace{Datastore: f.t.settings.Datastore}
		fault.File = parts[1]
		f.t.failLease(parts[0], fault)
		http.Error(w, "no space left on the datastore", http.StatusInternalServerError)
		return
	}
	f.receive(w, r, file, http.StatusOK, &parts[0])
}

// receive streams a body to a file, whole or not at all.
func (f *front) receive(w http.ResponseWriter, r *http.Request, file string, status int, lease *string) {
	part, err := os.CreateTemp(f.t.incoming(), "upload-*")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = part.Close(); _ = os.Remove(part.Name()) }()
	body := io.Reader(&counted{reader: r.Body, f: f, request: r, lease: lease})
	if lease == nil {
		if _, err := io.Copy(part, body); err != nil {
			sever(w)
			return
		}
		if err := keep(part.Name(), file); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(status)
		return
	}
	tee := r.Clone(r.Context())
	tee.Body = io.NopCloser(io.TeeReader(body, part))
	held := &heldAnswer{ResponseWriter: w, status: status}
	f.inner.ServeHTTP(held, tee)
	if held.status == http.StatusOK && f.t.lease(*lease) != nil && keep(part.Name(), file) == nil {
		w.WriteHeader(held.status)
		return
	}
	sever(w) // what a client of a dead lease sees
}

// counted reads a body, keeps its lease alive, and breaks where the plan says so.
type counted struct {
	reader  io.Reader
	f       *front
	request *http.Request
	lease   *string
	read    int64
}

func (c *counted) Read(buffer []byte) (int, error) {
	n, err := c.reader.Read(buffer)
	c.read += int64(n)
	p := c.f.t.plan
	p.mu.Lock()
	breaks := p.rules.Cut && p.rules.After > 0 && p.rules.Count > 0 && c.read > p.rules.After &&
		strings.HasPrefix(c.request.URL.Path, p.rules.Path)
	if breaks {
		p.rules.Count--
	}
	p.mu.Unlock()
	if breaks {
		return n, io.ErrUnexpectedEOF
	}
	if c.lease != nil && c.f.t.lease(*c.lease) == nil {
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}
