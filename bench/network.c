/* A network between clients and a server on loopback: one uplink for all, a round trip, failures.

   network PORT SERVER_PORT RATE LATENCY RESET_SHARE SEED

   Commands are lines on stdin, each is answered by one line; the end of stdin ends the program:

     counts          connections sent received resets seconds resumed pause (see print_counts)
     forget          zeroes the counts, starts the dice anew, calls off an outage
     refuse S AFTER  for S seconds nobody listens, and all connections are reset
     silence S AFTER for S seconds nothing is accepted and nothing passes, either way
     reset           resets all connections

   An outage begins AFTER seconds after the next connection, or at once when AFTER is 0.

   A packet is in the link for half a round trip.  Opening a connection takes a whole one before
   the first byte is read.  What was sent and not acknowledged is limited by a window that starts
   and grows as TCP's does in slow start; packets are not lost and not reordered. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { QUANTUM = 65536, SEGMENT = 1460, MOST_CONNECTIONS = 65536, EVENTS = 256 };
enum {
    FIRST_WINDOW = 10 * SEGMENT, /* RFC 6928 */
    LAST_WINDOW = 4 << 20,       /* Linux: the most that net.ipv4.tcp_wmem allows by default */
    RESET_BEFORE = 4 << 20,      /* a connection is reset before so many bytes were sent */
};
static const double BURST = 0.02; /* seconds of idle link that can be made up for */

enum way { UP, DOWN };
enum kind { OPEN, DATA, END, ACK };
enum outage { NONE, REFUSE, SILENCE };

struct packet {
    struct packet *next;
    struct connection *connection;
    enum kind kind;
    enum way way;
    double due;
    size_t size, done;
    char data[];
};

struct queue {
    struct packet *first, *last;
};

struct end {
    int fd;
    bool readable, writable, read_end, write_end;
    struct queue arrived;
    struct connection *connection;
};

struct connection {
    struct end ends[2]; /* ends[UP] is the client's: what goes up is read there */
    size_t flight[2], window[2];
    long long until_reset; /* bytes; -1: never */
    bool open, dead;
    int packets;
};

static int epoll_fd, listener = -1, port, server_port;
static double rate, half_trip, reset_share;
static long seed;
static size_t quantum = QUANTUM;

static double now, link_free_at;
static struct queue link_queue;
static struct connection *connections[MOST_CONNECTIONS];
static int connection_count, turn;

static enum outage planned, current;
static double planned_seconds, planned_after, begins_at, ends_at;

static long long accepted, sent, received, resets;
static double first_sent_at, last_sent_at, returned_at, last_answer_at, resumed, pause_;

static double monotonic(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static double earlier(double one, double other)
{
    return one < other ? one : other;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* Queues */

static void append(struct queue *queue, struct packet *packet)
{
    packet->next = NULL;
    if (queue->last)
        queue->last->next = packet;
    else
        queue->first = packet;
    queue->last = packet;
}

static struct packet *take_first(struct queue *queue)
{
    struct packet *packet = queue->first;
    queue->first = packet->next;
    if (!queue->first)
        queue->last = NULL;
    return packet;
}

/* All packets take the same time, so one queue keeps them in order. */
static void transmit(struct connection *connection, enum kind kind, enum way way, size_t size,
                     const void *data)
{
    struct packet *packet = malloc(sizeof *packet + (data ? size : 0));
    if (!packet)
        fail("malloc");
    *packet = (struct packet){.connection = connection, .kind = kind, .way = way,
                              .due = now + half_trip, .size = size};
    if (data)
        memcpy(packet->data, data, size);
    connection->packets++;
    append(&link_queue, packet);
}

static void discard(struct packet *packet)
{
    packet->connection->packets--;
    free(packet);
}

/* Connections */

static void close_connection(struct connection *connection, bool reset)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    if (connection->dead)
        return;
    connection->dead = true;
    for (int side = 0; side < 2; side++) {
        struct end *end = &connection->ends[side];
        if (end->fd < 0)
            continue;
        if (reset)
            setsockopt(end->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close(end->fd);
        while (end->arrived.first)
            discard(take_first(&end->arrived));
    }
}

static void reset_all(void)
{
    for (int i = 0; i < connection_count; i++)
        if (!connections[i]->dead) {
            close_connection(connections[i], true);
            resets++;
        }
}

/* Only between rounds: events and packets may still point to a connection that is dead. */
static void free_the_dead(void)
{
    for (int i = connection_count - 1; i >= 0; i--)
        if (connections[i]->dead && connections[i]->packets == 0) {
            free(connections[i]);
            connections[i] = connections[--connection_count];
        }
}

static void watch(int fd, struct end *end)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = end};
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    end->fd = fd;
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event))
        fail("epoll_ctl");
}

static struct sockaddr_in loopback(int number)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)number),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void accept_all(void)
{
    int fd;
    while (connection_count < MOST_CONNECTIONS &&
           (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *connection = calloc(1, sizeof *connection);
        if (!connection)
            fail("calloc");
        connections[connection_count++] = connection;
        for (int side = 0; side < 2; side++) {
            connection->ends[side] = (struct end){.fd = -1, .connection = connection};
            connection->window[side] = FIRST_WINDOW;
        }
        bool unlucky = drand48() < reset_share;
        double after = drand48() * RESET_BEFORE;
        connection->until_reset = unlucky ? (long long)after : -1;
        watch(fd, &connection->ends[UP]);
        transmit(connection, OPEN, UP, 0, NULL);
        accepted++;
        if (planned != NONE && begins_at == 0)
            begins_at = now + planned_after;
    }
}

static void connect_to_server(struct connection *connection)
{
    struct sockaddr_in address = loopback(server_port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail("socket");
    watch(fd, &connection->ends[DOWN]);
    connection->open = true;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        close_connection(connection, true);
}

static void note_answer(void)
{
    if (returned_at == 0)
        return;
    if (resumed < 0)
        resumed = now - returned_at;
    if (now - last_answer_at > pause_)
        pause_ = now - last_answer_at;
    last_answer_at = now;
}

/* Writes what has arrived at one end of a connection. */
static void write_arrived(struct end *end)
{
    struct connection *connection = end->connection;
    enum way way = end == &connection->ends[DOWN] ? UP : DOWN;
    while (!connection->dead && end->writable && end->arrived.first) {
        struct packet *packet = end->arrived.first;
        if (packet->kind == END) {
            shutdown(end->fd, SHUT_WR);
            end->write_end = true;
            discard(take_first(&end->arrived));
            if (connection->ends[UP].write_end && connection->ends[DOWN].write_end)
                close_connection(connection, false);
            continue;
        }
        ssize_t done = send(end->fd, packet->data + packet->done, packet->size - packet->done,
                            MSG_NOSIGNAL);
        if (done < 0 && errno == EAGAIN) {
            end->writable = false;
        } else if (done < 0) {
            close_connection(connection, true);
        } else if ((packet->done += (size_t)done) == packet->size) {
            if (way == DOWN)
                note_answer();
            transmit(connection, ACK, !way, packet->size, NULL);
            discard(take_first(&end->arrived));
        }
    }
}

/* Reads once at one end of a connection, if the window allows it; whether there may be more. */
static bool read_once(struct connection *connection, enum way way)
{
    static char buffer[QUANTUM];
    struct end *end = &connection->ends[way];
    /* Turns of one length would let all requests of one size end at the same moment. */
    size_t size = way == UP ? SEGMENT + (size_t)(drand48() * (double)(quantum - SEGMENT)) : QUANTUM;
    ssize_t done = recv(end->fd, buffer, size, 0);
    if (done < 0) {
        if (errno == EAGAIN)
            end->readable = false;
        else
            close_connection(connection, true);
        return false;
    }
    if (done == 0) {
        end->read_end = true;
        transmit(connection, END, way, 0, NULL);
        return false;
    }
    if (way == DOWN) {
        received += done;
    } else {
        sent += done;
        last_sent_at = now;
        if (first_sent_at == 0)
            first_sent_at = now;
        if (rate > 0) {
            if (link_free_at < now - BURST)
                link_free_at = now - BURST;
            link_free_at += (double)done / rate;
        }
        if (connection->until_reset >= 0 && (connection->until_reset -= done) < 0) {
            close_connection(connection, true);
            resets++;
            return false;
        }
    }
    connection->flight[way] += (size_t)done;
    transmit(connection, DATA, way, (size_t)done, buffer);
    return true;
}

static bool may_read(struct connection *connection, enum way way)
{
    struct end *end = &connection->ends[way];
    return connection->open && !connection->dead && end->readable && !end->read_end &&
           connection->flight[way] < connection->window[way];
}

/* One turn for each connection, so that they share the link fairly; returns when to come back. */
static double read_round(void)
{
    double next = 1e18;
    int count = connection_count, start = turn;
    for (int i = 0; i < count; i++) {
        int index = (start + i) % count;
        struct connection *connection = connections[index];
        if (may_read(connection, DOWN) && read_once(connection, DOWN))
            next = 0;
        if (!may_read(connection, UP))
            continue;
        if (rate > 0 && link_free_at > now) {
            next = earlier(next, link_free_at);
        } else if (read_once(connection, UP)) {
            next = 0;
            turn = index + 1;
        }
    }
    return next;
}

static void arrive(struct packet *packet)
{
    struct connection *connection = packet->connection;
    if (connection->dead) {
        discard(packet);
    } else if (packet->kind == OPEN) {
        if (packet->way == UP)
            transmit(connection, OPEN, DOWN, 0, NULL);
        else
            connect_to_server(connection);
        discard(packet);
    } else if (packet->kind == ACK) {
        size_t *window = &connection->window[!packet->way];
        connection->flight[!packet->way] -= packet->size;
        *window = *window + packet->size < LAST_WINDOW ? *window + packet->size : LAST_WINDOW;
        discard(packet);
    } else {
        struct end *end = &connection->ends[!packet->way];
        append(&end->arrived, packet);
        write_arrived(end);
    }
}

/* Outages */

static void set_option(int level, int name, int value)
{
    if (setsockopt(listener, level, name, &value, sizeof value))
        fail("setsockopt");
}

static void watch_listener(void)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event))
        fail("epoll_ctl");
}

static void start_listening(void)
{
    struct sockaddr_in address = loopback(port);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0)
        fail("socket");
    set_option(SOL_SOCKET, SO_REUSEADDR, 1);
    if (rate > 0) {
        /* Else this kernel takes megabytes that were not sent.  With loopback's segments of
           64 KiB a small buffer would wait for timers again and again. */
        double buffer = rate * 0.002;
        set_option(SOL_SOCKET, SO_RCVBUF, buffer < 4096 ? 4096 : (int)buffer);
        set_option(IPPROTO_TCP, TCP_MAXSEG, SEGMENT);
    }
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096))
        fail("listen");
    watch_listener();
}

static void begin_outage(void)
{
    current = planned;
    planned = NONE;
    ends_at = now + planned_seconds;
    if (current == REFUSE) {
        close(listener);
        reset_all();
    } else {
        epoll_ctl(epoll_fd, EPOLL_CTL_DEL, listener, NULL);
    }
}

static void end_outage(void)
{
    if (current == REFUSE)
        start_listening();
    else
        watch_listener();
    current = NONE;
    returned_at = last_answer_at = now;
    resumed = -1;
    pause_ = 0;
}

static void plan(enum outage outage, double seconds, double after)
{
    if (current != NONE)
        end_outage();
    planned = outage;
    planned_seconds = seconds;
    planned_after = after;
    begins_at = after > 0 ? 0 : now;
}

/* Commands */

static void forget(void)
{
    if (current != NONE)
        end_outage();
    planned = NONE;
    accepted = sent = received = resets = 0;
    first_sent_at = last_sent_at = returned_at = pause_ = 0;
    resumed = -1;
    srand48(seed);
}

/* Connections accepted; bytes that clients sent, and were sent; connections reset here; seconds
   from the first byte that clients sent to the last one; seconds from the end of the last outage to
   the next byte of an answer (-1: none yet), and the longest time without one since. */
static void print_counts(void)
{
    printf("%lld %lld %lld %lld %.6f %.6f %.6f\n", accepted, sent, received, resets,
           last_sent_at - first_sent_at, resumed, pause_);
}

static void obey(const char *line)
{
    double seconds, after;
    if (!strcmp(line, "counts")) {
        print_counts();
    } else {
        if (!strcmp(line, "forget"))
            forget();
        else if (!strcmp(line, "reset"))
            reset_all();
        else if (sscanf(line, "refuse %lf %lf", &seconds, &after) == 2)
            plan(REFUSE, seconds, after);
        else if (sscanf(line, "silence %lf %lf", &seconds, &after) == 2)
            plan(SILENCE, seconds, after);
        else
            exit(2);
        puts("ok");
    }
    fflush(stdout);
}

static void read_commands(void)
{
    static char text[4096];
    static size_t length;
    char *end;
    ssize_t done = read(STDIN_FILENO, text + length, sizeof text - length);
    if (done < 0 && errno == EAGAIN)
        return;
    if (done <= 0)
        exit(0);
    length += (size_t)done;
    while ((end = memchr(text, '\n', length))) {
        size_t size = (size_t)(end - text) + 1;
        *end = '\0';
        obey(text);
        memmove(text, text + size, length -= size);
    }
}

/* The loop */

static void handle(const struct epoll_event *event)
{
    struct end *end = event->data.ptr;
    if (end == NULL) {
        if (current == NONE)
            accept_all();
        return;
    }
    if ((void *)end == (void *)&epoll_fd) {
        read_commands();
        return;
    }
    if (end->connection->dead)
        return;
    if (event->events & EPOLLERR) {
        close_connection(end->connection, true);
        return;
    }
    if (event->events & (EPOLLIN | EPOLLHUP))
        end->readable = true;
    if (event->events & EPOLLOUT) {
        end->writable = true;
        if (current != SILENCE)
            write_arrived(end);
    }
}

static void wait_until(double then)
{
    struct pollfd ready = {.fd = epoll_fd, .events = POLLIN};
    double seconds = then - monotonic();
    if (seconds <= 0)
        return;
    if (seconds > 1e6)
        seconds = 1e6;
    struct timespec timeout = {.tv_sec = (time_t)seconds};
    timeout.tv_nsec = (long)((seconds - (double)timeout.tv_sec) * 1e9);
    ppoll(&ready, 1, &timeout, NULL);
}

int main(int count, char **arguments)
{
    struct rlimit files;
    struct epoll_event events[EVENTS];
    struct epoll_event commands = {.events = EPOLLIN, .data.ptr = &epoll_fd};
    double next = 0;
    if (count != 7)
        return 2;
    port = atoi(arguments[1]);
    server_port = atoi(arguments[2]);
    rate = atof(arguments[3]);
    half_trip = atof(arguments[4]) / 2;
    reset_share = atof(arguments[5]);
    seed = atol(arguments[6]);
    if (rate > 0 && rate * 0.0005 < QUANTUM)
        quantum = rate * 0.0005 < SEGMENT ? SEGMENT : (size_t)(rate * 0.0005);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    /* A link does not wait for a processor.  Only root may ask for this. */
    setpriority(PRIO_PROCESS, 0, -20);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &commands))
        fail("stdin");
    forget();
    start_listening();
    puts("ready");
    fflush(stdout);
    for (;;) {
        wait_until(next);
        now = monotonic();
        int ready = epoll_wait(epoll_fd, events, EVENTS, 0);
        for (int i = 0; i < ready; i++)
            handle(&events[i]);
        next = 1e18;
        if (current != NONE && now >= ends_at) {
            end_outage();
            /* What was ready during the silence raises no further event. */
            for (int i = 0; i < connection_count; i++)
                for (int side = 0; side < 2; side++)
                    write_arrived(&connections[i]->ends[side]);
        }
        if (planned != NONE && begins_at > 0 && now >= begins_at)
            begin_outage();
        if (current != SILENCE) {
            while (link_queue.first && link_queue.first->due <= now)
                arrive(take_first(&link_queue));
            next = read_round();
            if (link_queue.first)
                next = earlier(next, link_queue.first->due);
        }
        if (current != NONE)
            next = earlier(next, ends_at);
        if (planned != NONE && begins_at > 0)
            next = earlier(next, begins_at);
        free_the_dead();
    }
}
