// Clients that cost next to nothing, for gateway.py: one thread, one epoll.
//
//     load PORT CLIENTS SECONDS REQUESTS KEEP FILE
//
// Each client sends the request in FILE, reads the whole answer, and begins again, until SECONDS
// are over or REQUESTS (0 for any number) were sent. With KEEP 0 each request has a connection of
// its own. Prints how many answers were whole, how many requests failed, the bytes of all bodies,
// and the median and 99th percentile of the time to a whole answer in microseconds.
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 16384, MOST = 1 << 20 };
enum State { IN_HEAD, IN_BODY, IN_SIZE, IN_CHUNK, IN_LAST };

typedef struct Client {
    int fd, busy, waits; // waits: until more of its request can be written
    enum State state;
    char head[HEAD];
    size_t length, left, size, sent;
    int line; // bytes in the last line of a chunked body
    long began;
} Client;

static int epoll, keep, port, active;
static long until, asked, most, whole, failed, bytes;
static char *request, shared[1 << 18];
static size_t request_length;
static unsigned took[MOST];

static long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void push(Client *c) {
    while (c->sent < request_length) {
        ssize_t n = send(c->fd, request + c->sent, request_length - c->sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) break;
        c->sent += n;
    }
    int waits = c->sent < request_length;
    if (waits == c->waits) return;
    c->waits = waits;
    struct epoll_event e = {EPOLLIN | (waits ? EPOLLOUT : 0), {.ptr = c}};
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e);
}

static void open_connection(Client *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    // From several addresses in turn: each has but 28,000 ports.
    struct sockaddr_in from = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + asked % 4)};
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(c->fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    bind(c->fd, (void *)&from, sizeof from);
    if (connect(c->fd, (void *)&to, sizeof to)) {
        perror("connect");
        exit(1);
    }
    setsockopt(c->fd, SOL_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event e = {EPOLLIN, {.ptr = c}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e);
    c->waits = 0;
}

static void begin(Client *c) {
    c->busy = now() < until && (!most || asked < most);
    if (!c->busy) {
        active--;
        return;
    }
    if (c->fd < 0) open_connection(c);
    asked++;
    c->state = IN_HEAD;
    c->length = c->left = c->size = c->sent = c->line = 0;
    c->began = now();
    push(c);
}

static void hang_up(Client *c) {
    close(c->fd);
    c->fd = -1;
}

static void finish(Client *c) {
    if (whole < MOST) took[whole] = (now() - c->began) / 1000;
    whole++;
    if (!keep) hang_up(c);
    begin(c);
}

static void fail(Client *c) {
    if (!failed) fprintf(stderr, "the first failure, in state %d:\n%s\n", c->state, c->head);
    failed++;
    hang_up(c);
    begin(c);
}

// Takes what it can of a head; how many bytes that was, or -1 where it is none.
static long feed_head(Client *c, const char *data, size_t n) {
    size_t had = c->length, taken = n < HEAD - 1 - had ? n : HEAD - 1 - had;
    memcpy(c->head + had, data, taken);
    c->length += taken;
    c->head[c->length] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) return c->length < HEAD - 1 ? (long)taken : -1;
    if (strncmp(c->head, "HTTP/1.1 200", 12)) return -1;
    *end = 0;
    char *length = strcasestr(c->head, "\r\ncontent-length:");
    c->state = length ? IN_BODY : IN_SIZE;
    if (length) c->left = strtoul(length + 17, 0, 10);
    return end + 4 - c->head - had;
}

static int digit(char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; }

// False when the answer is over, whole or not.
static int feed(Client *c, const char *data, size_t n) {
    while (n) {
        size_t taken = 1;
        if (c->state == IN_HEAD) {
            long head = feed_head(c, data, n);
            if (head < 0) return fail(c), 0;
            taken = head;
        } else if (c->state == IN_BODY || c->state == IN_CHUNK) {
            taken = n < c->left ? n : c->left;
            c->left -= taken;
            bytes += taken;
            if (c->state == IN_CHUNK && !c->left) {
                bytes -= 2; // the end of line after it
                c->state = IN_SIZE;
            }
        } else if (c->state == IN_SIZE) {
            if (*data == '\n') {
                c->state = c->size ? IN_CHUNK : IN_LAST;
                c->left = c->size + 2;
                c->size = c->line = 0;
            } else if (*data != '\r') c->size = c->size * 16 + digit(*data);
        } else if (*data == '\n') {
            if (!c->line) return finish(c), 0;
            c->line = 0;
        } else if (*data != '\r') c->line++;
        data += taken;
        n -= taken;
        if (c->state == IN_BODY && !c->left) return finish(c), 0;
    }
    return 1;
}

static int compare(const void *a, const void *b) {
    unsigned x = *(unsigned *)a, y = *(unsigned *)b;
    return x < y ? -1 : x > y;
}

static void read_request(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) exit(2);
    fseek(file, 0, SEEK_END);
    request_length = ftell(file);
    rewind(file);
    request = malloc(request_length);
    if (fread(request, 1, request_length, file) != request_length) exit(2);
}

int main(int argc, char **argv) {
    if (argc < 7) return 2;
    port = atoi(argv[1]);
    active = atoi(argv[2]);
    until = now() + (long)(atof(argv[3]) * 1e9);
    most = atol(argv[4]);
    keep = atoi(argv[5]);
    read_request(argv[6]);
    epoll = epoll_create1(0);
    Client *clients = calloc(active, sizeof *clients);
    for (int i = 0, all = active; i < all; i++) {
        clients[i].fd = -1;
        begin(&clients[i]);
    }
    struct epoll_event events[256];
    long patience = until + 10000000000L; // an answer may be under way when time is up
    while (active && now() < patience) {
        int n = epoll_wait(epoll, events, 256, 100);
        for (int i = 0; i < n; i++) {
            Client *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT && c->sent < request_length) push(c);
            if (!(events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) continue;
            ssize_t got = recv(c->fd, shared, sizeof shared, MSG_DONTWAIT);
            if (got > 0 && c->busy) feed(c, shared, got);
            else if (got == 0 && c->busy) fail(c);
            else if (got == 0) epoll_ctl(epoll, EPOLL_CTL_DEL, c->fd, 0);
        }
    }
    size_t known = whole < MOST ? whole : MOST;
    qsort(took, known, sizeof *took, compare);
    printf("%ld %ld %ld %u %u\n", whole, failed + active, bytes, known ? took[known / 2] : 0,
           known ? took[known * 99 / 100] : 0);
}
