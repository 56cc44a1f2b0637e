// LiteRT on Android. Compiled by kotlinc and run once on stand-ins, not on Android: no SDK was at hand.
//
// src/main/java/YOUR/PACKAGE/Segmenter.kt:  this file, with `package YOUR.PACKAGE` as its first line
// build.gradle.kts:  dependencies { implementation("com.google.ai.edge.litert:litert:1.4.2") }
//                    android { defaultConfig { minSdk = 28 }  // for ImageDecoder
//                              androidResources { noCompress += "tflite" } }
// src/main/assets/:  model.tflite and manifest.json, from
//                    `python cli.py export MODEL --format litert --size 360x640 --output phone`

import android.content.Context
import android.graphics.Bitmap
import android.graphics.Color
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.MappedByteBuffer
import java.nio.channels.FileChannel
import kotlin.math.roundToInt
import org.json.JSONObject
import org.tensorflow.lite.Interpreter

/** Class ids of a photograph, row by row, in its proportions: as large as it is inside the artifact's size. */
class Labels(val ids: ByteArray, val width: Int, val height: Int)

/** Finds the labels of photographs with an artifact of `height` and `width`. One thread at a time. */
class Segmenter(context: Context, threads: Int = 4) : AutoCloseable {
    private val manifest = JSONObject(context.assets.open("manifest.json").bufferedReader().use { it.readText() })
    private val classes = manifest.getJSONArray("classes").let { all -> List(all.length()) { all.getJSONObject(it) } }
    val height = manifest.getJSONArray("size").getInt(0)
    val width = manifest.getJSONArray("size").getInt(1)
    /** By class id. */
    val names = classes.map { it.getString("name") }
    val colors = classes.map { it.getJSONArray("color") }.map { Color.rgb(it.getInt(0), it.getInt(1), it.getInt(2)) }

    private val interpreter = Interpreter(load(context), Interpreter.Options().setNumThreads(threads))

    // The artifact takes raw RGB, uint8 (1, height, width, 3), and gives uint8 (1, height, width).
    private val image = ByteBuffer.allocateDirect(height * width * 3).order(ByteOrder.nativeOrder())
    private val labels = ByteBuffer.allocateDirect(height * width).order(ByteOrder.nativeOrder())

    /**
     * The photograph is letterboxed to the artifact's size: in the middle of it, with its proportions kept. It must be
     * upright: `ImageDecoder` turns it as its EXIF data says, `BitmapFactory` does not.
     */
    fun segment(photograph: Bitmap): Labels {
        val scale = minOf(height.toDouble() / photograph.height, width.toDouble() / photograph.width)
        val rows = maxOf(1, (photograph.height * scale).roundToInt())
        val columns = maxOf(1, (photograph.width * scale).roundToInt())
        val first = (height - rows) / 2 * width + (width - columns) / 2
        val pixels = IntArray(height * width) { Color.rgb(127, 127, 127) }  // what was around photographs in training
        // What ImageDecoder gives lies in the GPU's memory, where pixels cannot be read.
        val readable = if (photograph.config == Bitmap.Config.HARDWARE) photograph.copy(Bitmap.Config.ARGB_8888, false) else photograph
        scaled(readable, columns, rows).getPixels(pixels, first, width, 0, 0, columns, rows)
        image.rewind()
        for (pixel in pixels) {
            image.put((pixel shr 16).toByte()).put((pixel shr 8).toByte()).put(pixel.toByte())
        }
        image.rewind()
        labels.rewind()
        interpreter.runSignature(mapOf("image" to image), mapOf("label_ids" to labels), "serving_default")
        val ids = ByteArray(rows * columns)
        for (row in 0 until rows) {
            labels.position(first + row * width)
            labels.get(ids, row * columns, columns)
        }
        return Labels(ids, columns, rows)
    }

    /** The labels of `segment` in their classes' colours. */
    fun paint(labels: Labels): Bitmap {
        val pixels = IntArray(labels.ids.size) { colors[labels.ids[it].toInt() and 255] }
        return Bitmap.createBitmap(pixels, labels.width, labels.height, Bitmap.Config.ARGB_8888)
    }

    override fun close() = interpreter.close()

    /** Halved until it is less than twice as large: one step would look at four pixels, whatever lies between. */
    private fun scaled(photograph: Bitmap, columns: Int, rows: Int): Bitmap {
        var smaller = photograph
        while (smaller.width >= 2 * columns || smaller.height >= 2 * rows) {
            smaller = Bitmap.createScaledBitmap(smaller, maxOf(columns, smaller.width / 2), maxOf(rows, smaller.height / 2), true)
        }
        return Bitmap.createScaledBitmap(smaller, columns, rows, true)
    }

    private fun load(context: Context): MappedByteBuffer =
        context.assets.openFd("model.tflite").use { file ->
            FileInputStream(file.fileDescriptor).channel.map(
                FileChannel.MapMode.READ_ONLY, file.startOffset, file.declaredLength)
        }
}
