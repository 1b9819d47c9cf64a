/* A small server with a socket, for tests: engine SOCKET DATA serves, client SOCKET WORD... asks.

   Compiled with -DVERSION="..." and any of GUARD (it defines the symbol that is asked for), TEXT
   (its name is only a text in it), CRASHES, MUTE (it never binds), LIES (it answers wrongly).
   DATA/format says which version wrote the data; where it is an older one, the data is migrated in
   as many steps, of as many milliseconds, as DATA/migration says. DATA/hangs stops that halfway. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#ifdef GUARD
int FinanceAvellaneda(int x) { return x + 1; }
#endif
#ifdef TEXT
const char *text = "FinanceAvellaneda";
#endif

static char path[512];

static const char *in(const char *folder, const char *name) {
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int address(struct sockaddr_un *to, const char *name) {
    memset(to, 0, sizeof *to);
    to->sun_family = AF_UNIX;
    strncpy(to->sun_path, name, sizeof to->sun_path - 1);
    return socket(AF_UNIX, SOCK_STREAM, 0);
}

static int client(int count, char **words) {
    struct sockaddr_un to;
    char line[600] = "", answer[600] = "";
    int at = address(&to, words[1]);
    if (connect(at, (struct sockaddr *)&to, sizeof to)) return puts("cannot connect"), 2;
    for (int i = 2; i < count; i++) strcat(strcat(line, i > 2 ? " " : ""), words[i]);
    strcat(line, "\n");
    if (write(at, line, strlen(line)) < 0 || read(at, answer, sizeof answer - 1) <= 0) return 2;
    fputs(answer, stdout);
    return strncmp(answer, "error", 5) == 0;
}

static void migrate(const char *data) {
    char format[40] = "";
    int steps = 0, ms = 0;
    FILE *file = fopen(in(data, "format"), "r");
    if (file) { if (!fgets(format, sizeof format, file)) format[0] = 0; fclose(file); }
    if (strcmp(format, VERSION) >= 0) return;
    file = fopen(in(data, "migration"), "r");
    if (file) { if (fscanf(file, "%d %d", &steps, &ms) != 2) steps = 0; fclose(file); }
    for (int i = 1; i <= steps; i++) {
        printf("Snapshot load progress %d/%d\n", i, steps);
        while (i * 2 > steps && access(in(data, "hangs"), F_OK) == 0) {
            usleep(50000);
            printf("Snapshot load progress %d/%d\n", i, steps);
        }
        usleep(ms * 1000);
    }
    file = fopen(in(data, "format"), "w");
    if (file) { fputs(VERSION, file); fclose(file); }
    if (steps) puts("imported 3 graph(s)");
}

static void serve(int listening) {
    for (;;) {
        char line[600] = "", answer[700] = "error: unknown query\n";
        int at = accept(listening, NULL, NULL);
        if (read(at, line, sizeof line - 1) > 0) {
            line[strcspn(line, "\n")] = 0;
            if (!strcmp(line, "version")) snprintf(answer, sizeof answer, "%s\n", VERSION);
#ifdef LIES
            if (!strncmp(line, "graph ", 6)) snprintf(answer, sizeof answer, "no graph\n");
#else
            if (!strncmp(line, "graph ", 6)) snprintf(answer, sizeof answer, "%s has 3\n", line);
#endif
            if (write(at, answer, strlen(answer)) < 0) perror("write");
        }
        close(at);
    }
}

int main(int count, char **words) {
    struct sockaddr_un to;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (strstr(words[0], "client")) return client(count, words);
    printf("engine %s starts\n", VERSION);
#ifdef CRASHES
    return 3;
#endif
    migrate(words[2]);
#ifdef MUTE
    for (;;) pause();
#endif
    unlink(words[1]);
    int at = address(&to, words[1]);
    if (bind(at, (struct sockaddr *)&to, sizeof to) || listen(at, 64)) return perror("bind"), 1;
    printf("Listening on UDS %s\n", words[1]);
    serve(at);
}
