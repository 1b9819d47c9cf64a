// A backend that costs next to nothing, for gateway.py: one thread, one epoll.
//
//     stub PORT
//
// It answers by path once it has the whole request: /v1/models, speech (200 kB), embeddings
// (1.42 MB), and about 1 kB of JSON for anything else. ?events=N&every_us=M in the target makes
// it a stream of N events of 158 bytes, each a chunk and a write of its own. GET /left says when
// a client last left within a stream, in seconds of CLOCK_MONOTONIC.
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

enum { HEAD = 16384, EVENT = 158, CHUNK = EVENT + 6, TOKENS = 1000 };

typedef struct Client {
    int fd, blocked, place; // place: where in `streams`, or -1
    char head[HEAD];
    size_t length, body; // bytes of the head, and how many of the body are still to come
    const char *out;
    size_t left;
    long events, every, due; // nanoseconds
} Client;

static int epoll, count;
static Client *streams[4096];
static double last_left;
static char chunks[TOKENS][CHUNK + 1], shared[1 << 18];
static char *chat, *embeddings, *speech, *models;
static size_t chat_length, embeddings_length, speech_length, models_length;

static long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static char *answer(const char *type, const char *before, size_t filled, const char *after,
                    size_t *length) {
    size_t body = strlen(before) + filled + strlen(after);
    char *made = malloc(body + 256);
    int head = sprintf(made, "HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %zu\r\n\r\n%s",
                       type, body, before);
    memset(made + head, '1', filled);
    strcpy(made + head + filled, after);
    *length = head + filled + strlen(after);
    return made;
}

static void make_answers(void) {
    chat = answer("application/json",
                  "{\"id\":\"c\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\",\"choices\":"
                  "[{\"index\":0,\"finish_reason\":\"stop\",\"message\":{\"role\":\"assistant\","
                  "\"content\":\"", 780,
                  "\"}}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2}}",
                  &chat_length);
    models = answer("application/json", "{\"object\":\"list\",\"data\":[{\"id\":\"m\"}]}", 0, "",
                    &models_length);
    embeddings = answer("application/json", "{\"object\":\"list\",\"data\":[{\"embedding\":[0.",
                        1420000, "]}]}", &embeddings_length);
    speech = answer("audio/mpeg", "", 200000, "", &speech_length);
    for (int i = 0; i < TOKENS; i++) { // some proxies end a stream that repeats itself
        char event[EVENT + 1];
        int used = sprintf(event, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,"
                           "\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%03d", i);
        const char *end = "\"}}]}\n\n";
        memset(event + used, 'x', EVENT - used);
        strcpy(event + EVENT - strlen(end), end);
        sprintf(chunks[i], "%x\r\n%s\r\n", EVENT, event);
    }
}

static void watch(Client *c, int writable) {
    struct epoll_event e = {EPOLLIN | (writable ? EPOLLOUT : 0), {.ptr = c}};
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e);
    c->blocked = writable;
}

// Writes what is to be written; false where the rest has to wait.
static int push(Client *c) {
    while (c->left) {
        ssize_t written = send(c->fd, c->out, c->left, MSG_NOSIGNAL);
        if (written < 0) {
            if (!c->blocked) watch(c, 1);
            return 0;
        }
        c->out += written;
        c->left -= written;
    }
    if (c->blocked) watch(c, 0);
    return 1;
}

static void say(Client *c, const char *out, size_t length) {
    c->out = out;
    c->left = length;
    push(c);
}

static void leave_streams(Client *c) {
    if (c->place < 0) return;
    streams[c->place] = streams[--count];
    streams[c->place]->place = c->place;
    c->place = -1;
}

static long number(const char *head, const char *name) {
    const char *found = strstr(head, name);
    return found ? atol(found + strlen(name)) : 0;
}

static void respond(Client *c) {
    char *line = strstr(c->head, "\r\n");
    *line = 0;
    c->length = 0;
    if ((c->events = number(c->head, "events="))) {
        c->every = number(c->head, "every_us=") * 1000;
        c->due = now() + (c->every ? random() % c->every : 0);
        const char *head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                           "transfer-encoding: chunked\r\n\r\n";
        say(c, head, strlen(head));
        c->place = count;
        streams[count++] = c;
    } else if (strstr(c->head, "/left")) {
        static char text[256];
        say(c, text, sprintf(text, "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n%20.6f", last_left));
    } else if (strstr(c->head, "/v1/models")) say(c, models, models_length);
    else if (strstr(c->head, "/embeddings")) say(c, embeddings, embeddings_length);
    else if (strstr(c->head, "/speech")) say(c, speech, speech_length);
    else say(c, chat, chat_length);
}

static void closed(Client *c) {
    if (c->place >= 0) last_left = now() / 1e9;
    leave_streams(c);
    close(c->fd);
    free(c);
}

static void readable(Client *c) {
    ssize_t got = read(c->fd, shared, sizeof shared);
    if (got <= 0) {
        closed(c);
        return;
    }
    char *more = shared;
    if (!c->body) {
        size_t taken = (size_t)got < HEAD - 1 - c->length ? (size_t)got : HEAD - 1 - c->length;
        memcpy(c->head + c->length, more, taken);
        c->length += taken;
        c->head[c->length] = 0;
        char *end = strstr(c->head, "\r\n\r\n");
        if (!end) return;
        char *length = strcasestr(c->head, "\r\ncontent-length:");
        size_t body = length && length < end ? strtoul(length + 17, 0, 10) : 0;
        size_t here = c->length - (end + 4 - c->head) + (got - taken);
        c->body = body > here ? body - here : 0;
    } else {
        c->body -= (size_t)got < c->body ? (size_t)got : c->body;
    }
    if (!c->body) respond(c);
}

// Writes one event to each stream that is due; how many milliseconds until the next is.
static int stream(void) {
    if (!count) return -1;
    long soonest = -1, time = now();
    for (int i = count - 1; i >= 0; i--) {
        Client *c = streams[i];
        if (c->blocked) continue;
        if (c->due <= time) {
            c->due += c->every;
            const char *chunk = chunks[c->events % TOKENS];
            if (c->events--) say(c, chunk, CHUNK);
            else {
                leave_streams(c);
                say(c, "0\r\n\r\n", 5);
                continue;
            }
        }
        if (soonest < 0 || c->due < soonest) soonest = c->due;
    }
    if (soonest < 0) return -1;
    return soonest <= time ? 0 : (soonest - time + 999999) / 1000000;
}

static void accept_all(int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, SOL_TCP, TCP_NODELAY, &on, sizeof on);
        Client *c = calloc(1, sizeof *c);
        c->fd = fd;
        c->place = -1;
        struct epoll_event e = {EPOLLIN, {.ptr = c}};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
    }
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (void *)&at, sizeof at) || listen(listener, 4096)) return 1;
    make_answers();
    epoll = epoll_create1(0);
    struct epoll_event e = {EPOLLIN, {.ptr = 0}}, events[256];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int n = epoll_wait(epoll, events, 256, stream());
        for (int i = 0; i < n; i++) {
            Client *c = events[i].data.ptr;
            if (!c) accept_all(listener);
            else if (events[i].events & (EPOLLHUP | EPOLLERR)) closed(c);
            else if (events[i].events & EPOLLOUT && !push(c)) continue;
            else if (events[i].events & EPOLLIN) readable(c);
        }
    }
}
