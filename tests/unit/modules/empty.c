/* A shared object without a task. */
int module_without_tasks(void);

int module_without_tasks(void) {
    return 1;
}
