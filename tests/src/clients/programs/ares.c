/* Prints the addresses c-ares has for a name; without one, its version. */
#include <ares.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>

static int failed = 1;

static void answered(void *unused, int status, int timeouts, struct ares_addrinfo *list)
{
    struct ares_addrinfo_node *one;
    char text[64];

    (void)unused;
    (void)timeouts;
    if (status != ARES_SUCCESS) {
        fprintf(stderr, "c-ares: %s\n", ares_strerror(status));
        return;
    }
    for (one = list->nodes; one != NULL; one = one->ai_next) {
        const void *address = one->ai_family == AF_INET
            ? (const void *)&((struct sockaddr_in *)one->ai_addr)->sin_addr
            : (const void *)&((struct sockaddr_in6 *)one->ai_addr)->sin6_addr;
        puts(inet_ntop(one->ai_family, address, text, sizeof text));
    }
    ares_freeaddrinfo(list);
    failed = 0;
}

int main(int argc, char **argv)
{
    struct ares_addrinfo_hints hints;
    ares_channel channel;

    if (argc != 2) {
        puts(ares_version(NULL));
        return 0;
    }
    memset(&hints, 0, sizeof hints);
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS || ares_init(&channel) != ARES_SUCCESS)
        return 2;
    ares_getaddrinfo(channel, argv[1], NULL, &hints, answered, NULL);
    for (;;) {
        fd_set reading, writing;
        struct timeval wait, *timeout;
        int count;

        FD_ZERO(&reading);
        FD_ZERO(&writing);
        count = ares_fds(channel, &reading, &writing);
        if (count == 0)
            break;
        timeout = ares_timeout(channel, NULL, &wait);
        select(count, &reading, &writing, NULL, timeout);
        ares_process(channel, &reading, &writing);
    }
    ares_destroy(channel);
    return failed;
}
