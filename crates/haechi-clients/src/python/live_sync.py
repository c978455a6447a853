    def live(
        self,
        *,
        where: W | str | None = None,
        order: Mapping[O, Direction] | None = None,
        expand: E | None = None,
        page_size: int | None = None,
        count: bool | None = None,
    ) -> Iterator[Page[R]]:
        """The page that a query finds, now and after each change; many changes at once are one page."""
        changed = threading.Event()
        changed.set()
        stopped = threading.Event()
        failed: builtins.list[BaseException] = []
        watched = None if _looks_through(where) else where

        def note() -> None:
            try:
                for _ in self.watch(where=watched, fields=cast(Any, ["id"])):
                    changed.set()
                    if stopped.is_set():
                        return
            except BaseException as error:
                failed.append(error)
                changed.set()

        # The thread ends with the next thing that it hears, or with the program.
        threading.Thread(target=note, daemon=True).start()
        try:
            while True:
                changed.wait()
                if failed:
                    raise failed[0]
                changed.clear()
                yield self.list(where=where, order=order, expand=expand, page_size=page_size, count=count)
                time.sleep(_TOGETHER)
        finally:
            stopped.set()
